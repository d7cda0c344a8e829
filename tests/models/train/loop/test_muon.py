"""Muon: what it makes of gradients, and that it finds a minimum."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from models.train.loop.muon import Muon, optimisers, orthogonalise


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6)])
def test_orthogonalise_brings_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape), steps=8))
    assert values.max() < 1.3
    assert values.min() > 0.5


def test_orthogonalise_takes_matrices_of_one_shape_together() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, 20, 6)
    one_by_one = torch.stack([orthogonalise(matrix) for matrix in matrices])
    torch.testing.assert_close(orthogonalise(matrices), one_by_one, atol=1e-6, rtol=0)


def test_muon_solves_a_least_squares_problem() -> None:
    torch.manual_seed(0)
    target = torch.randn(4, 6)
    weight = nn.Parameter(torch.zeros(4, 6))
    muon = Muon([weight], lr=0.05)
    losses = []
    for step in range(200):
        for group in muon.param_groups:
            group["lr"] = 0.05 * math.cos(step / 200 * math.pi / 2)
        loss = (weight - target).square().mean()
        muon.zero_grad()
        torch.autograd.backward(loss)
        muon.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.01 * losses[0]


@pytest.mark.gpu
def test_a_gpu_updates_weights_of_all_shapes_as_a_processor_does() -> None:
    shapes = ((4, 6), (6, 4), (4, 6), (8, 3, 2, 2), (4, 6))
    rng = torch.Generator().manual_seed(0)
    grads = [torch.randn(shape, generator=rng) for shape in shapes]
    moved = []
    for device in ("cpu", "cuda"):
        weights = [nn.Parameter(torch.ones(shape, device=device)) for shape in shapes]
        muon = Muon(weights, lr=0.05)
        for scale in (1.0, -0.5):
            for weight, grad in zip(weights, grads, strict=True):
                weight.grad = (grad * scale).to(device)
            muon.step()
        moved.append([weight.detach().cpu() for weight in weights])
    torch.testing.assert_close(*moved, atol=1e-3, rtol=1e-3)


def test_optimisers_split_by_shape_and_name() -> None:
    model = nn.ModuleDict({"emb": nn.Embedding(3, 2), "fc": nn.Linear(2, 2)})
    muon, adam = optimisers(model, 0.1, 0.1, ("emb",))
    assert isinstance(muon, Muon)
    assert [p.shape for p in muon.param_groups[0]["params"]] == [(2, 2)]
    assert len(adam.param_groups[0]["params"]) == 2
    assert len(optimisers(model, None, 0.1)) == 1
