from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.stage2.dmol import (
    Conditionals,
    Layout,
    bits_per_dimension,
    draw_pixel,
    log_likelihood,
    mixture_of,
    scaled,
)

_SIZES = st.sampled_from([1e-3, 1.0, 30.0, 1e3, 1e6])


def _params(seed: int, size: float, channels: int, dtype: torch.dtype = torch.float64) -> Tensor:
    width = 4 * (10 if channels == 3 else 3)
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(2, width, generator=generator) * size).to(dtype)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), size=_SIZES, values=st.tuples(*[st.integers(0, 255)] * 2))
def test_probabilities_sum_to_one_for_any_parameters(
    seed: int, size: float, values: tuple[int, int]
) -> None:
    """Whatever the earlier channels are, however improbable."""
    conditionals = Conditionals(mixture_of(_params(seed, size, 3, torch.float32), 3))
    for value in (*values, 0):
        log_probabilities = conditionals.log_probabilities()
        assert not log_probabilities.isnan().any()
        assert (log_probabilities.exp().sum(-1) - 1).abs().max() < 1e-6
        conditionals.observe(torch.tensor([value, value]))


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), size=_SIZES, channels=st.sampled_from([1, 3]))
def test_likelihoods_and_their_gradients_are_finite(seed: int, size: float, channels: int) -> None:
    params = _params(seed, size, channels, torch.float32).requires_grad_(True)
    x = scaled(torch.tensor([[0, 255, 128][:channels], [1, 254, 127][:channels]]), params.dtype)
    nats = log_likelihood(mixture_of(params, channels), x).sum()
    (gradient,) = torch.autograd.grad(nats, params)
    assert nats.isfinite()
    assert gradient.isfinite().all()


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), values=st.tuples(*[st.integers(0, 255)] * 3))
def test_the_channels_one_after_the_other_are_the_pixel(
    seed: int, values: tuple[int, int, int]
) -> None:
    """The product of what is drawn from is what training measures."""
    mixture = mixture_of(_params(seed, 0.5, 3), 3)
    pixel = torch.tensor([values, values])
    conditionals, total = Conditionals(mixture), torch.zeros(2, dtype=torch.float64)
    for channel in pixel.unbind(-1):
        total += conditionals.log_probabilities().gather(-1, channel[:, None])[:, 0]
        conditionals.observe(channel)
    assert torch.allclose(total, log_likelihood(mixture, scaled(pixel, torch.float64)), atol=2e-4)


def test_a_narrow_component_puts_all_on_one_byte() -> None:
    params = torch.tensor([[0.0, scaled(torch.tensor(77), torch.float64).item(), -50.0]])
    probabilities = Conditionals(mixture_of(params, 1)).log_probabilities().exp()
    assert probabilities.argmax() == 77
    assert probabilities[0, 77] > 0.96  # the scale is no less than e^-7


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_the_same_numbers_in_another_order(layout: Layout) -> None:
    params = _params(0, 1.0, 3)
    logits, rest = params.split_with_sizes([4, 36], -1)
    order = {"channels_first": (0, 2, 1, 3), "channels_last": (0, 2, 3, 1)}[layout]
    other = torch.cat((logits, rest.view(2, 3, 3, 4).permute(order).flatten(1)), -1)
    found, wanted = mixture_of(other, 3, layout), mixture_of(params, 3)
    assert torch.equal(found.means, wanted.means)
    assert torch.equal(found.log_scales, wanted.log_scales)
    assert torch.equal(found.coefficients, wanted.coefficients)


def test_each_channel_is_asked_for_once_and_in_order() -> None:
    asked: list[int] = []

    def draw(logits: Tensor, depth: int) -> Tensor:
        assert logits.shape == (2, 256)
        asked.append(depth)
        return logits.argmax(-1)

    assert draw_pixel(mixture_of(_params(3, 1.0, 3), 3), draw).shape == (2, 3)
    assert asked == [0, 1, 2]


def test_uniform_bytes_are_eight_bits() -> None:
    assert bits_per_dimension(torch.tensor(256.0).log().item() * 12, 12) == pytest.approx(8)
