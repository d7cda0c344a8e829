"""What changes while a stage trains: the weights, their optimisers and their moving average.

One update in two halves, `backward` and `advance`, so that a stage may work on the gradients in
between. Knows no data and no loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models.errors import ConfigError
from models.train.loop.run import Schedule, State


class NotFiniteError(ArithmeticError):
    """A run can't go on: its loss is no finite number."""


@contextmanager
def naming(titles: Callable[[], Iterable[str]]) -> Iterator[None]:
    """Where the step inside ends in a NotFiniteError, say which pictures it was of."""
    try:
        yield
    except NotFiniteError as error:
        raise NotFiniteError(f"{error}; its pictures: {', '.join(titles())}") from None


class Stateful(Protocol):
    """What can be put away and taken up again: a module, an optimiser."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Any) -> object: ...


class Average:
    """An exponential moving average of a model's weights, bias-corrected at the start."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after this step."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)


class Learner:
    """A model on its way through a schedule. `next_step` is the first one not done yet.

    Args:
        model: what is trained.
        optimisers: of its parameters.
        schedule: of their learning rates.
        decay: of the moving average.
        beside: what else belongs to the state, by name.
    """

    def __init__(
        self,
        model: nn.Module,
        optimisers: Sequence[Optimizer],
        schedule: Schedule,
        decay: float,
        beside: Mapping[str, Stateful] | None = None,
    ) -> None:
        self.model = model
        self.optimisers = optimisers
        self.schedule = schedule
        self.average = Average(model, decay)
        self.next_step = 0
        self._parts: dict[str, Stateful] = {"model": model, **(beside or {})}

    def backward(self, losses: Iterable[Tensor]) -> Tensor:
        """Make the gradients those of the sum of `losses`, which is returned.

        Each is gone when the next one is asked for, so a batch may come in parts.
        """
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        total = torch.zeros(())
        for loss in losses:
            torch.autograd.backward(loss)
            total = total + loss.detach()
        return total

    def advance(self, step: int, loss: float) -> None:
        """Update weights and average by the gradients, at the rates of this step.

        NotFiniteError, and nothing is updated, where the loss of all workers is no number.
        """
        if not math.isfinite(loss):
            raise NotFiniteError(f"the loss is {loss} at step {step}")
        for optimiser in self.optimisers:
            self.schedule.apply(optimiser, step)
            optimiser.step()
        self.average.update(self.model, step)
        self.next_step = step + 1

    def state(self) -> State:
        """Everything that a resumed run needs."""
        return {
            "step": self.next_step,
            "average": self.average.weights,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            **{name: part.state_dict() for name, part in self._parts.items()},
        }

    def restore(self, state: State) -> None:
        """Take up a state; ConfigError where it is that of another kind of run."""
        saved = cast(dict[str, Any], state)
        differing = sorted(saved.keys() ^ self.state().keys())
        if differing:
            raise ConfigError(f"the run and its options differ in: {', '.join(differing)}")
        try:
            for name, part in self._parts.items():
                part.load_state_dict(saved[name])
            for optimiser, values in zip(self.optimisers, saved["optimisers"], strict=True):
                optimiser.load_state_dict(values)
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                "the run's weights are of another shape, or learnt in another way"
            ) from error
        self.next_step = saved["step"]
        self.average.weights = saved["average"]
