"""The Muon optimiser (Jordan et al. 2024) for weight matrices and convolutions.

A momentum step whose update is made orthogonal by a few Newton-Schulz iterations; here it learns
stage 1 and stage 2 in a fraction of Adam's steps. torch has one for 2-D weights only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from models.train.loop.engine import placed, whole
from models.train.loop.processes import place

_NS = (3.4445, -4.7750, 2.0315)  # the paper's quintic: fast, and near enough to orthogonal
_TOGETHER = 1 << 24  # numbers of weights that are orthogonalised at once: they are copied


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Push all singular values of matrices [..., m, n] towards 1 (Newton-Schulz)."""
    a, b, c = _NS
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    is_tall = x.shape[-2] > x.shape[-1]
    x = x.mT if is_tall else x
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    out: Tensor = x.mT if is_tall else x
    return out


class Muon(Optimizer):
    """Nesterov momentum, orthogonalised; weights of more than two dimensions are flattened.

    Where several processes train together, each orthogonalises its share of the matrices (the
    costly part) and sends it to the others. Of shards no more than one matrix a process is whole at
    once. A single GPU takes matrices of one shape together, for it waits for each small product.
    (torch's own Muon rounds to bfloat16, takes no convolutions, and every process does all.)
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no closure here
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            for some in _taken_together(weights, place()[1]):
                self._update(some, group["lr"], group["momentum"])

    def _update(self, weights: list[Tensor], lr: float, momentum: float) -> None:
        """One weight a process, or of a single process any number of one shape."""
        updates = [whole(self._momentum(weight, momentum)).flatten(1) for weight in weights]
        number, count = place()
        if count == 1:
            updates = list(orthogonalise(torch.stack(updates)))
        elif number < len(updates):
            updates[number] = orthogonalise(updates[number]).contiguous()
        for owner, update in enumerate(updates if count > 1 else ()):
            dist.broadcast(update, owner)
        for weight, update in zip(weights, updates, strict=True):
            scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
            weight.add_(placed(update.reshape(weight.shape), weight), alpha=-lr * scale)

    def _momentum(self, weight: Tensor, momentum: float) -> Tensor:
        grad, state = weight.grad, self.state[weight]
        assert grad is not None
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        buffer = state["momentum"].lerp_(grad, 1 - momentum)
        return torch.lerp(grad, buffer, momentum)


def _taken_together(weights: list[Tensor], count: int) -> Iterator[list[Tensor]]:
    """One a process; for one process with a GPU those of one shape, up to `_TOGETHER` numbers.

    A processor is a tenth slower at stacked products.
    """
    if count > 1 or not weights or not weights[0].is_cuda:
        yield from (weights[start : start + count] for start in range(0, len(weights), count))
        return
    alike: dict[torch.Size, list[Tensor]] = {}
    for weight in weights:
        alike.setdefault(weight.shape, []).append(weight)
    for some in alike.values():
        number = max(1, _TOGETHER // some[0].numel())
        yield from (some[start : start + number] for start in range(0, len(some), number))


def optimisers(
    model: nn.Module,
    muon_lr: float | None,
    adam_lr: float,
    looked_up: tuple[str, ...] = (),
    **adam: Any,
) -> list[Optimizer]:
    """Muon for weight matrices and convolutions, AdamW for the rest and for `looked_up`.

    Without `muon_lr` AdamW has all. `looked_up` are parts of the names of parameters whose rows
    are looked up or are class weights; `adam` is what AdamW has besides its rate.
    """
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            is_matrix = (
                muon_lr is not None
                and weight.ndim >= 2
                and not any(part in name for part in looked_up)
            )
            (matrices if is_matrix else rest).append(weight)
    options = {"betas": (0.9, 0.95), "weight_decay": 0.0, **adam}
    of_rest = torch.optim.AdamW(rest, lr=adam_lr, **options)
    return [of_rest] if muon_lr is None else [Muon(matrices, lr=muon_lr), of_rest]
