"""The Muon optimiser (Jordan et al. 2024) for weight matrices and convolutions.

A momentum step whose update is made orthogonal by a few Newton-Schulz iterations; here it learns
stage 1 and stage 2 in a fraction of Adam's steps. torch has one for 2-D weights only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models.train.loop import workers

_NS = (3.4445, -4.7750, 2.0315)  # the paper's quintic: fast, and near enough to orthogonal


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Push all singular values of a 2-D tensor towards 1 (Newton-Schulz)."""
    a, b, c = _NS
    x = matrix / (matrix.norm() + 1e-7)
    is_tall = x.shape[0] > x.shape[1]
    x = x.mT if is_tall else x
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    out: Tensor = x.mT if is_tall else x
    return out


class Muon(Optimizer):
    """Nesterov momentum, orthogonalised; weights of more than two dimensions are flattened.

    Where several processes train together, each orthogonalises its share of the matrices (the
    costly part) and they exchange the results; momentum is kept by all, so that any can be resumed.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no closure here
        worker, num_workers = workers.place()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            raw = [self._momentum(weight, weight.grad, group["momentum"]) for weight in weights]
            updates = [
                orthogonalise(update) if index % num_workers == worker else torch.zeros_like(update)
                for index, update in enumerate(raw)
            ]
            for weight, update in zip(weights, workers.summed(updates), strict=True):
                scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                weight.add_(update.view_as(weight), alpha=-group["lr"] * scale)

    def _momentum(self, weight: Tensor, grad: Tensor, momentum: float) -> Tensor:
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        buffer = state["momentum"].lerp_(grad, 1 - momentum)
        return torch.lerp(grad, buffer, momentum).flatten(1)


def optimisers(
    model: nn.Module, muon_lr: float | None, adam_lr: float, embeddings: tuple[str, ...] = ()
) -> list[Optimizer]:
    """Muon for weight matrices and convolutions, AdamW for the rest and for `embeddings`.

    Without `muon_lr` AdamW has all. `embeddings` are parts of the names of parameters whose rows
    are looked up or are class weights.
    """
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            is_matrix = (
                muon_lr is not None
                and weight.ndim >= 2
                and not any(part in name for part in embeddings)
            )
            (matrices if is_matrix else rest).append(weight)
    adam = torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, 0.95), weight_decay=0.0)
    return [adam] if muon_lr is None else [Muon(matrices, lr=muon_lr), adam]
