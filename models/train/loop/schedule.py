"""Learning rates over a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer

_FULL = "initial_lr"  # torch's own name for it


@dataclass(frozen=True, slots=True)
class Schedule:
    """Cosine from the full rate to `floor` of it over `steps`, after a linear warm-up."""

    steps: int
    warm_up: int = 50
    floor: float = 0.02

    def factor(self, step: int) -> float:
        """What the learning rates are multiplied with at this step."""
        rise = min(1.0, (step + 1) / self.warm_up)
        progress = min(1.0, step / max(1, self.steps))
        return rise * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress)))

    def apply(self, optimiser: Optimizer, step: int) -> None:
        """Set an optimiser's rates; the full ones are remembered at the first call."""
        for group in optimiser.param_groups:
            group.setdefault(_FULL, group["lr"])
            group["lr"] = group[_FULL] * self.factor(step)


def take_up(optimiser: Optimizer, values: dict[str, Any]) -> None:
    """Load an optimiser's state but for its full rates: a run goes on at those of its options."""
    rates = [group.get(_FULL, group["lr"]) for group in optimiser.param_groups]
    optimiser.load_state_dict(values)
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group[_FULL] = rate
