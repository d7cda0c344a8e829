from __future__ import annotations

import pytest
import torch
from torch_fidelity.metric_prc import calculate_precision_recall_full

from models.measure.metrics import manifold
from models.measure.metrics.manifold import precision_recall


def test_it_is_what_the_library_says_in_parts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    made, real = torch.randn(60, 5, generator=generator), torch.randn(70, 5, generator=generator)
    made[:20] *= 3
    told = calculate_precision_recall_full(made, real, neighborhood=3)
    monkeypatch.setattr(manifold, "_ROWS", 13)
    found = precision_recall(made, real)
    assert found == pytest.approx(told)
    assert 0 < found[0] < 1


def test_one_of_two_modes_is_precise_and_recalls_half() -> None:
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(1))
    both = torch.cat([x, x + 100])
    precision, recall = precision_recall(x, both)
    assert precision == 1.0
    assert recall == pytest.approx(0.5)
