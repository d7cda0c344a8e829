from __future__ import annotations

import math

import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from models.measure.metrics.inception_score import InceptionScore


@pytest.mark.parametrize(("number", "batch"), [(47, 8), (100, 33), (1013, 1013)])
def test_batches_give_what_the_library_says_of_all(number: int, batch: int) -> None:
    logits = 3 * torch.randn(number, 20, generator=torch.Generator().manual_seed(number))
    score = InceptionScore(number)
    for part in torch.split(logits, batch):
        score.add(part)
    told = isc_features_to_metric(logits, splits=10)["inception_score_mean"]
    assert score.value == pytest.approx(told, rel=1e-9)


def test_sure_and_different_is_the_number_of_classes_and_alike_is_one() -> None:
    sure, alike = InceptionScore(4000), InceptionScore(40)
    sure.add(1000 * torch.eye(4).repeat_interleave(1000, 0))  # sorted by class, as lists are
    alike.add(torch.ones(40, 4))
    assert sure.value == pytest.approx(4.0, rel=0.02)
    assert alike.value == pytest.approx(1.0)


def test_fewer_pictures_than_splits_and_fewer_than_were_told() -> None:
    one = InceptionScore(1)
    one.add(torch.tensor([[1.0, 2.0]]))
    assert one.value == pytest.approx(1.0)
    cut = InceptionScore(100)
    cut.add(torch.randn(12, 3))
    assert math.isfinite(cut.value)
