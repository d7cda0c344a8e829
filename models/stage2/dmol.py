"""Discretised mixtures of logistics (Salimans et al. 2017): a head's numbers → bytes of a pixel.

One mixture for all channels of a pixel: green is shifted by red, blue by red and green, each by a
coefficient of its component. `log_likelihood` is what training and the papers compute,
`Conditionals` gives the same as 256 exact probabilities a channel, to draw from. Knows no network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from models.configs.raw_pixels import NUM_BYTES
from models.stage2.prior import Draw

_MIN_LOG_SCALE = -7.0
_MAX_LOG_SCALE = 600.0  # above it a bin between the ends would have no logarithm in float64
_HALF_BIN = 1 / 255
_SMALL = 1e-5  # a bin's probability below which its density stands for it

# How a head orders K components of C channels: PixelCNN++ gives one channel after the other; in
# the Image Transformers all channels' means come first, then all scales, each of them (C, K) in the
# PyTorch port ("channels_first") and (K, C) in tensor2tensor ("channels_last").
Layout = Literal["by_channel", "channels_first", "channels_last"]


@dataclass(frozen=True, slots=True)
class Mixture:
    """K components of C channels at any number of pixels."""

    logits: Tensor  # [..., K]
    means: Tensor  # [..., C, K]
    log_scales: Tensor  # [..., C, K], not below -7
    coefficients: Tensor  # [..., 3, K] in -1..1: red on green, red on blue, green on blue; or empty

    @property
    def num_channels(self) -> int:
        return self.means.shape[-2]

    def mean(self, channel: int, earlier: Tensor) -> Tensor:
        """Means [..., K] of a channel, given the earlier ones of the pixel [..., >= channel]."""
        mean = self.means[..., channel, :]
        if channel == 1:
            return mean + self.coefficients[..., 0, :] * earlier[..., :1]
        if channel == 2:
            of_red = self.coefficients[..., 1, :] * earlier[..., :1]
            return mean + of_red + self.coefficients[..., 2, :] * earlier[..., 1:2]
        return mean


def mixture_of(params: Tensor, channels: int, layout: Layout = "by_channel") -> Mixture:
    """A head's numbers [..., 10 K] (3 K of a single channel) → what they mean."""
    num_mixtures = params.shape[-1] // (10 if channels == 3 else 3)
    logits, rest = params[..., :num_mixtures], params[..., num_mixtures:]
    parts = 3 if channels == 3 else 2
    if layout == "by_channel":
        split = torch.unflatten(rest, -1, (channels, parts, num_mixtures)).unbind(-2)
    elif layout == "channels_first":
        split = torch.unflatten(rest, -1, (parts, channels, num_mixtures)).unbind(-3)
    else:
        swapped = torch.unflatten(rest, -1, (parts, num_mixtures, channels))
        split = swapped.transpose(-1, -2).unbind(-3)
    coefficients = split[2].tanh() if channels == 3 else split[0][..., :0, :]
    return Mixture(logits, split[0], split[1].clamp(min=_MIN_LOG_SCALE), coefficients)


def scaled(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Bytes → -1..1."""
    return (values.to(dtype) - 127.5) / 127.5


def log_likelihood(mixture: Mixture, x: Tensor) -> Tensor:
    """Of pixels [..., C] in -1..1, in nats per pixel [...]: the papers' formula.

    A bin of so small a probability that its difference of two sigmoids would be rounding counts by
    the density at its middle.
    """
    per_channel = [
        _log_bin(x[..., c, None], mixture.mean(c, x), mixture.log_scales[..., c, :])
        for c in range(mixture.num_channels)
    ]
    components = torch.stack(per_channel).sum(0) + mixture.logits.log_softmax(-1)
    return components.logsumexp(-1)


def _log_bin(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log-probability of a byte's bin under each logistic [..., K]; x [..., 1]."""
    inverse = (-log_scale).exp()
    middle = inverse * (x - mean)
    above, below = inverse * (x - mean + _HALF_BIN), inverse * (x - mean - _HALF_BIN)
    delta = above.sigmoid() - below.sigmoid()
    density = middle - log_scale - 2 * F.softplus(middle) - math.log(127.5)
    # Not the true one where it is not chosen: its gradient must stay finite there.
    inner = torch.where(delta > _SMALL, delta.clamp(min=1e-12).log(), density)
    inner = torch.where(x > 0.999, -F.softplus(below), inner)
    return torch.where(x < -0.999, above - F.softplus(above), inner)


class Conditionals:
    """The channels of pixels [B] one after the other, each given those before, exactly.

    Computed in float64: the bins are differences of one function at its places between two bytes,
    so that their probabilities sum to 1 whatever the parameters are.
    """

    def __init__(self, mixture: Mixture) -> None:
        self._mixture = Mixture(
            mixture.logits.double(),
            mixture.means.double(),
            mixture.log_scales.double().clamp(max=_MAX_LOG_SCALE),
            mixture.coefficients.double(),
        )
        self._weights = self._mixture.logits.log_softmax(-1)  # [B, K], by what is drawn so far
        self._drawn = self._mixture.means.new_zeros(*self._weights.shape[:-1], 0)

    def log_probabilities(self) -> Tensor:
        """Of the next channel's bytes, [B, 256]; -inf where the probability is 0."""
        self._bins = self._log_bins()
        return (self._weights[..., None] + self._bins).logsumexp(-2)

    def observe(self, values: Tensor) -> None:
        """That channel's bytes [B]; the components that make them likely weigh more from now on."""
        found = self._bins.gather(-1, values[..., None, None].expand(*self._weights.shape, 1))
        self._weights = self._weights + found[..., 0]
        self._weights = self._weights - self._weights.logsumexp(-1, keepdim=True)
        self._drawn = torch.cat((self._drawn, scaled(values, torch.float64)[..., None]), -1)

    def _log_bins(self) -> Tensor:
        """Log-probability of each byte under each component, [B, K, 256]."""
        channel = self._drawn.shape[-1]
        mean = self._mixture.mean(channel, self._drawn)[..., None]
        inverse = (-self._mixture.log_scales[..., channel, :, None]).exp()
        edges = torch.arange(1, NUM_BYTES, device=mean.device, dtype=mean.dtype)
        at = inverse * ((edges - 128) / 127.5 - mean)  # [B, K, 255], between two bytes
        ends = torch.full_like(at[..., :1], torch.inf)
        upper, lower = torch.cat((at, ends), -1), torch.cat((-ends, at), -1)
        # σ(u) - σ(l) = σ(u) σ(-l) (1 - e^(l - u)): no difference of nearly equal numbers, and what
        # is too improbable for any float still has its logarithm.
        width = -torch.expm1(lower - upper)
        return F.logsigmoid(upper) + F.logsigmoid(-lower) + width.log()


def draw_pixel(mixture: Mixture, draw: Draw) -> Tensor:
    """The bytes [b, C] of pixels, a channel after the other."""
    conditionals, drawn = Conditionals(mixture), list[Tensor]()
    for channel in range(mixture.num_channels):
        drawn.append(draw(conditionals.log_probabilities(), channel))
        if channel + 1 < mixture.num_channels:
            conditionals.observe(drawn[-1])
    return torch.stack(drawn, -1)


def bits_per_dimension(nats: float, num_values: int) -> float:
    """What the papers report: of all nats, over sub-pixels."""
    return nats / (math.log(2) * num_values)
