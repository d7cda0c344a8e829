"""Says in the log what is wrong with Redis, once a while, and counts it by reason each time.

What nobody foresaw in a loop that goes on is said as seldom. One per process, told by whoever gives
up on a command. Knows no command.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from prometheus_client import Counter

from service.broker.redis_faults import FAULT_OF_CODE, FAULTS
from service.errors import QueueUnavailable

_AGAIN_S = 60.0

_log = logging.getLogger(__name__)


class FaultLog:
    """`counter` has the label `reason`. `clock` is for tests only."""

    def __init__(self, counter: Counter, clock: Callable[[], float] = time.monotonic) -> None:
        self._counter = counter
        self._clock = clock
        self._said: dict[str, float] = {}  # when, by reason
        for fault in FAULTS:
            counter.labels(fault.name)  # there from the first scrape

    def note(self, error: QueueUnavailable) -> None:
        """Count it; say it unless the same was said within the last minute."""
        fault = FAULT_OF_CODE[error.code]
        self._counter.labels(fault.name).inc()
        if self._is_due(fault.name):
            about = {"reason": fault.name, "cause": str(error.__cause__ or "")}
            _log.warning("redis: %s; %s", fault.found, fault.advice, extra=about)

    def note_unforeseen(self, what: str, error: Exception) -> None:
        """Say it with its traceback, unless the same was said within the last minute."""
        if self._is_due(f"{what}: {type(error).__name__}"):
            _log.error(what, exc_info=error)

    def _is_due(self, reason: str) -> bool:
        """Whether it was not said within the last minute; then it is now."""
        now = self._clock()
        if now - self._said.get(reason, float("-inf")) < _AGAIN_S:
            return False
        self._said[reason] = now
        return True
