from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from models.errors import ConfigError
from models.measure.metrics.gaussian import Gaussian


def gathered(*batches: Tensor) -> Gaussian:
    made = Gaussian()
    for batch in batches:
        made.add(batch)
    return made


def test_distance_of_gaussians_with_known_moments() -> None:
    torch.manual_seed(0)
    x = torch.randn(20_000, 3)
    one = gathered(x)
    assert one.distance(one) == pytest.approx(0.0, abs=1e-6)
    moved = gathered(x + torch.tensor([2.0, 0.0, 0.0]))
    assert one.distance(moved) == pytest.approx(4.0, rel=1e-4)
    # Same mean, standard deviations 1 and 3 in each of three directions: 3 · (3 - 1)².
    assert one.distance(gathered(3 * x)) == pytest.approx(12.0, rel=0.03)


def test_batches_give_what_the_whole_gives_and_what_the_library_says() -> None:
    generator = torch.Generator().manual_seed(1)
    made, real = torch.randn(2, 90, 16, generator=generator) + 1000  # a large mean costs digits
    real = real * 1.5 + 0.3
    told = fid_statistics_to_metric(
        fid_features_to_statistics(made), fid_features_to_statistics(real), verbose=False
    )["frechet_inception_distance"]
    in_parts = gathered(*made.split(7)).distance(gathered(*real.split(40)))
    assert in_parts == pytest.approx(gathered(made).distance(gathered(real)), rel=1e-9)
    assert in_parts == pytest.approx(told, rel=1e-5)


def test_statistics_are_read_from_a_file(tmp_path: Path) -> None:
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(2))
    mean, covariance = gathered(x).moments
    np.savez(tmp_path / "s.npz", mu=mean.numpy(), sigma=covariance.numpy())
    read = Gaussian.read(tmp_path / "s.npz")
    assert gathered(x).distance(read) == pytest.approx(0.0, abs=1e-9)
    np.savez(tmp_path / "none.npz", mean=mean.numpy())
    with pytest.raises(ConfigError, match=r"none\.npz"):
        Gaussian.read(tmp_path / "none.npz")
    whole = (tmp_path / "s.npz").read_bytes()
    for damaged in (b"", whole[: len(whole) // 2]):
        (tmp_path / "half.npz").write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"half\.npz"):
            Gaussian.read(tmp_path / "half.npz")
    with pytest.raises(ConfigError, match="4 and of 5"):
        read.distance(gathered(torch.randn(9, 5)))
