"""How fast a run goes and what it takes: pictures a second, memory, time left, share of the peak.

Knows no model; floating point operations are counted as they happen.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch.utils.flop_counter import FlopCounterMode

_GIB = 2**30


@dataclass(slots=True)
class Pace:
    """Of a run whose steps learn from `batch` pictures.

    With the `peak` of one device, in operations a second, its first step is counted, which takes
    longer, and `mfu` is told: how much of the peak the model's own arithmetic is.
    """

    batch: int
    peak: float = 0.0
    _flops: int = 0
    _since: float = field(default_factory=time.monotonic)
    _steps: int = 0

    def step(self, step_once: Callable[[int], dict[str, float]], step: int) -> dict[str, float]:
        """Take a step."""
        self._steps += 1
        if not self.peak or self._flops:
            return step_once(step)
        with FlopCounterMode(display=False) as counter:
            values = step_once(step)
        self._flops = counter.get_total_flops()
        return values

    def figures(self, num_left: int) -> dict[str, float]:
        """Since the last time they were told, or the beginning."""
        now, steps = time.monotonic(), self._steps
        seconds = (now - self._since) / max(steps, 1)
        self._since, self._steps = now, 0
        told = {
            "pictures_s": self.batch / seconds,
            "left_s": num_left * seconds,
            "memory_gib": _peak_memory() / _GIB,
        }
        if self._flops:
            told["mfu"] = self._flops / seconds / self.peak
        return {name: float(f"{value:.4g}") for name, value in told.items()}


def _peak_memory() -> int:
    """Bytes that this process has held at most, of its device where it has one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
