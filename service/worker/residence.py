"""Where one model of a worker is, and since when: what decides who is loaded and who has to go.

cold → loading → ready → unloading → cold; a load that fails leads back to cold. Plain bookkeeping:
knows no model, no jobs and no clock, the time is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from service.broker.workers import Residence

_AFTER: Mapping[Residence, tuple[Residence, ...]] = MappingProxyType(
    {
        "cold": ("loading",),
        "loading": ("ready", "cold"),
        "ready": ("unloading",),
        "unloading": ("cold",),
    }
)
_SHORTEST_STAY_S = 5.0  # of a model that others wait for, so that loading is not all that is done
_LOADS_PER_STAY = 2.0  # and at least so many times as long as its loading took
_REST_S = 1.0  # without a job for so long, it may go at once
_RETRY_S = 2.0  # between a failure that may pass and the next try
_COOL_S = 30.0  # after any other failure


@dataclass(slots=True)
class Stay:
    """One model's. `num_bytes`: what it holds, or is expected to hold before it was loaded once.

    `is_due`: it shall be loaded at the start, and has not been. `is_leaving`: it takes no more
    jobs, so that another one gets room. After a failure it is not tried again before
    `failed_until`; `is_refused` till then says that jobs for it need not wait. Times are seconds on
    one clock.
    """

    num_bytes: int
    on_change: Callable[[Residence], None]
    is_due: bool = False
    is_leaving: bool = False
    wished_at: float = math.inf
    loaded_at: float = -math.inf
    used_at: float = -math.inf
    load_s: float = 0.0
    num_failures: int = 0  # since it was loaded last
    is_refused: bool = False
    failed_until: float = -math.inf
    _state: Residence = "cold"

    @property
    def state(self) -> Residence:
        """Where it is."""
        return self._state

    @property
    def takes_jobs(self) -> bool:
        """Whether jobs may be claimed for it."""
        return self._state == "ready" and not self.is_leaving

    @property
    def held_bytes(self) -> int:
        """What it holds of the memory, or is about to."""
        return 0 if self._state == "cold" else self.num_bytes

    def enter(self, state: Residence) -> None:
        """Go on to the next state. ValueError for one that can't follow."""
        if state not in _AFTER[self._state]:
            raise ValueError(f"from {self._state} to {state}")
        self._state = state
        self.on_change(state)

    def arrive(self, now: float, num_bytes: int, load_s: float) -> None:
        """It is loaded."""
        self.num_bytes, self.load_s = num_bytes, load_s
        self.loaded_at = self.used_at = now
        self.is_due = self.is_refused = False
        self.num_failures, self.wished_at = 0, math.inf
        self.enter("ready")

    def fail(self, now: float, *, is_to_retry: bool) -> None:
        """It could not be loaded, and is let be for a while: a short one, if to be tried again."""
        self.is_due = False
        self.is_refused = not is_to_retry
        self.num_failures += 1
        self.failed_until = now + (_RETRY_S if is_to_retry else _COOL_S)

    def leave(self) -> None:
        """Begin to go: no more jobs come."""
        self.is_leaving = False
        self.enter("unloading")

    def has_stayed(self, now: float) -> bool:
        """Whether it has been there for long enough to make room for others."""
        return now - self.loaded_at >= max(_SHORTEST_STAY_S, _LOADS_PER_STAY * self.load_s)

    def may_go(self, now: float) -> bool:
        """Whether it may make room, as soon as no job of it runs."""
        return self._state == "ready" and (now - self.used_at >= _REST_S or self.has_stayed(now))
