"""Says in the log what is wrong with Redis, once a while, and counts it by reason each time.

One per process, told by whoever gives up on a command. Knows no command.
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
        now = self._clock()
        if now - self._said.get(fault.name, float("-inf")) < _AGAIN_S:
            return
        self._said[fault.name] = now
        about = {"reason": fault.name, "cause": str(error.__cause__ or "")}
        _log.warning("redis: %s; %s", fault.found, fault.advice, extra=about)
