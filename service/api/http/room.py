"""Room for bodies that hold pictures: how many bytes of them one process keeps at a time.

A body is kept until its request is answered, which may take as long as its job: a thousand callers
who wait with a large picture each would fill the memory. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import UploadsFull

_RETRY_S = 2.0


class Room:
    """So many bytes for all. For one event loop. `on_full` is told of each refusal."""

    def __init__(self, max_bytes: int, on_full: Callable[[], None] = lambda: None) -> None:
        self._left = max_bytes
        self._on_full = on_full

    @contextmanager
    def part(self) -> Iterator[Callable[[int], None]]:
        """Gives what takes so many bytes, or raises UploadsFull; all come back at the end."""
        held = 0

        def take(num_bytes: int) -> None:
            nonlocal held
            if num_bytes > self._left:
                self._on_full()
                raise UploadsFull(_RETRY_S)
            self._left -= num_bytes
            held += num_bytes

        try:
            yield take
        finally:
            self._left += held
