"""What changes while a stage trains: the weights, their optimisers and their moving average.

One update from losses to weights, however many processes share it. Knows no data and no loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from models.errors import ConfigError
from models.train.loop.checkpoints import State
from models.train.loop.engine import Engine, unjoined, whole
from models.train.loop.processes import is_first, mean
from models.train.loop.schedule import Schedule, take_up

Weights = dict[str, Tensor]
_Model = TypeVar("_Model", bound=nn.Module)
_SCALER = "scaler"


class NotFiniteError(ArithmeticError):
    """A run can't go on: its loss is no finite number."""


@contextmanager
def naming(titles: Callable[[], Iterable[str]]) -> Iterator[None]:
    """Where the step inside ends in a NotFiniteError, say which pictures it was of."""
    try:
        yield
    except NotFiniteError as error:
        raise NotFiniteError(f"{error}; its pictures: {', '.join(titles())}") from None


def with_weights(model: _Model, weights: Weights, device: torch.device | str = "cpu") -> _Model:
    """A model to look at with these weights, on a device."""
    model.load_state_dict(weights)
    return model.to(device).eval().requires_grad_(False)


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
        moving: list[tuple[Tensor, Tensor]] = []
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                moving.append((self.weights[name], value))
            else:
                self.weights[name].copy_(value)
        means, values = map(list, zip(*moving, strict=True))
        get_ema_multi_avg_fn(decay)(means, values, None)  # type: ignore[no-untyped-call]  # torch's

    def gathered(self) -> Weights:
        """All of it, for the first process; the others, which must ask too, get nothing."""
        gathered: Weights = {}
        for name, value in self.weights.items():
            all_of_it = whole(value)  # no device holds more than one at once
            if is_first():
                gathered[name] = all_of_it.cpu()
        return gathered


class Learner:
    """A model on its way through a schedule. `next_step` is the first one not done yet.

    Args:
        model: what is trained.
        compute: with it, from any inputs; `self.compute` is the same for one of many processes.
        optimisers: of its parameters, made when the engine has them.
        schedule: of their learning rates.
        decay: of the moving average.
        clip_norm: the longest that gradients may be.
        beside: what else belongs to the state, by name.
        engine: how it computes.
    """

    def __init__(  # noqa: PLR0913  what a run consists of, by name
        self,
        model: nn.Module,
        compute: Callable[..., Any],
        optimisers: Callable[[nn.Module], Sequence[Optimizer]],
        schedule: Schedule,
        *,
        decay: float,
        clip_norm: float | None = None,
        beside: Mapping[str, Stateful] | None = None,
        engine: Engine | None = None,
    ) -> None:
        engine = engine or Engine()
        self.model = model
        self.compute = engine.prepared(model, compute)
        self.optimisers = optimisers(model)
        self.schedule, self.clip_norm = schedule, clip_norm
        self.average = Average(model, decay)
        self.next_step = 0
        is_scaled = engine.precision is torch.float16  # whose smallest numbers are too large
        self._scaler = torch.amp.GradScaler(engine.device.type, enabled=is_scaled)
        self._parts: dict[str, Stateful] = {"model": model, **(beside or {})}

    def update(self, step: int, losses: Sequence[Callable[[], Tensor]]) -> float:
        """Learn from the sum of `losses`, at the rates of this step; returns its mean over all.

        Each loss is computed when the one before is gone, so a batch may come in parts.
        NotFiniteError, and nothing is updated, where it is no number in any process, or where the
        gradients are none (of float16, whose scaler looks for the largest scale, such steps are
        left out).
        """
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        total = torch.zeros(())
        for number, loss_of in enumerate(losses, 1):
            with unjoined(self.compute, is_last=number == len(losses)):
                loss = loss_of()
                torch.autograd.backward(self._scaler.scale(loss))
            total = total + loss.detach().cpu()
        loss_of_all = mean(total)
        if not math.isfinite(loss_of_all):
            raise NotFiniteError(f"the loss is {loss_of_all} at step {step}")
        self._advance(step)
        return loss_of_all

    def _advance(self, step: int) -> None:
        for optimiser in self.optimisers:
            self._scaler.unscale_(optimiser)
        weights = list(self.model.parameters())
        norm = nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None])
        length = float(whole(norm))
        if not (math.isfinite(length) or self._scaler.is_enabled()):
            raise NotFiniteError(f"the gradients' norm is {length} at step {step}")
        if self.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(weights, self.clip_norm, norm)
        for optimiser in self.optimisers:
            self.schedule.apply(optimiser, step)
        for optimiser in self.optimisers:
            self._scaler.step(optimiser)
        self._scaler.update()
        self.average.update(self.model, step)
        self.next_step = step + 1

    def state(self) -> State:
        """Everything that a resumed run needs."""
        return {
            "step": self.next_step,
            "average": self.average.weights,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            _SCALER: self._scaler.state_dict(),
            **{name: part.state_dict() for name, part in self._parts.items()},
        }

    def restore(self, state: State) -> None:
        """Take up a state; ConfigError where it is that of another kind of run."""
        saved = cast(dict[str, Any], state)
        # A run may go on in other numbers; older ones have not saved their scale.
        differing = sorted((saved.keys() ^ self.state().keys()) - {_SCALER})
        if differing:
            raise ConfigError(f"the run and its options differ in: {', '.join(differing)}")
        try:
            for name, part in self._parts.items():
                part.load_state_dict(saved[name])
            for optimiser, values in zip(self.optimisers, saved["optimisers"], strict=True):
                take_up(optimiser, values)
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                "the run's weights are of another shape, or learnt in another way"
            ) from error
        if self._scaler.is_enabled() and saved.get(_SCALER):
            self._scaler.load_state_dict(saved[_SCALER])
        self.next_step = saved["step"]
        self.average.weights = saved["average"]

    def weights_by_place(self) -> dict[str, Tensor]:
        """Tensors like which those of a state are kept, by their place in it or above it."""
        found = {f"average/{name}": value for name, value in self.average.weights.items()}
        found |= {f"model/{name}": value for name, value in self.model.state_dict().items()}
        for number, optimiser in enumerate(self.optimisers):
            weights = [weight for group in optimiser.param_groups for weight in group["params"]]
            for index, weight in enumerate(weights):
                found[f"optimisers/{number}/state/{index}"] = weight
        return found
