"""Whether other processes want the cores that a team of OpenMP threads steps on.

A team meets at a barrier after every operation. Where another process holds one of its cores, all
threads wait until that one has had its turn, some milliseconds, some dozen times a step: a small
model's step takes ten times as long, where one thread alone would take twice as long. A team that
has its cores burns all of their time, waiting included, since waiting threads spin; one that is
displaced burns less. Knows no steps and sets no threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_WINDOW_S = 0.25  # of stepping, before a judgement
_OWN_SHARE = 0.7  # of the team's cores' time: what it gets at least where it is alone
_FIRST_PAUSE_S = 2.0  # on a smaller team, before the whole one is tried again
_LONGEST_PAUSE_S = 30.0


class Crowding:
    """Judges a team by the CPU time of this process. For the thread that steps, and for no other.

    `clock` and `cpu_clock` give seconds: of the wall, and of all cores for this process.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._last: tuple[float, float] | None = None  # both clocks at the last look
        self._wall = self._used = 0.0  # seconds of this window
        self._pause = _FIRST_PAUSE_S
        self._until = float("-inf")  # a smaller team does better before then

    def look(self, num_threads: int) -> bool:
        """Call before each step that a team of so many threads may take. True: take fewer.

        Tries the whole team again after a while, and waits twice as long each time in vain.
        """
        now, used = self._clock(), self._cpu_clock()
        if now < self._until:
            self._last = None
            return True
        if self._last is not None:
            self._wall += now - self._last[0]
            self._used += used - self._last[1]
        self._last = now, used
        return self._wall >= _WINDOW_S and self._judge(now, num_threads)

    def rest(self) -> None:
        """Nothing is stepped until the next look: what passes till then does not count."""
        self._last = None

    def _judge(self, now: float, num_threads: int) -> bool:
        is_crowded = self._used < _OWN_SHARE * self._wall * num_threads
        self._wall = self._used = 0.0
        if is_crowded:
            self._until = now + self._pause
            self._last = None
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_S) if is_crowded else _FIRST_PAUSE_S
        return is_crowded
