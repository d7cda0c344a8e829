from __future__ import annotations

import pytest
import torch

from models.measure.metrics.ssim import ssim


def test_equals_are_one_and_flat_pictures_follow_the_formula() -> None:
    pictures = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    assert ssim(pictures, pictures).tolist() == pytest.approx([1.0, 1.0])
    dark, light = torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.6)
    wanted = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert float(ssim(dark, light)) == pytest.approx(wanted, rel=1e-4)


def test_it_is_the_sum_over_a_window_by_hand() -> None:
    """One place of one window, computed with plain sums in float64."""
    generator = torch.Generator().manual_seed(1)
    one, other = torch.rand(2, 1, 1, 11, 11, generator=generator, dtype=torch.float64)
    at = torch.arange(-5, 6, dtype=torch.float64)
    window = torch.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    mean, other_mean = ((window * p).sum() for p in (one, other))
    variance = (window * (one - mean) ** 2).sum()
    other_variance = (window * (other - other_mean) ** 2).sum()
    together = (window * (one - mean) * (other - other_mean)).sum()
    c1, c2 = 0.01**2, 0.03**2
    wanted = (2 * mean * other_mean + c1) * (2 * together + c2)
    wanted /= (mean**2 + other_mean**2 + c1) * (variance + other_variance + c2)
    assert float(ssim(one, other)) == pytest.approx(float(wanted), rel=1e-9)
