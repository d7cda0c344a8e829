"""Discretised mixtures of logistics against recorded numbers: a definition, no checkpoint.

Likelihoods and gradients in float64, samples by the recorded uniform numbers. Sampling here is the
authors', in real numbers; the service draws bytes instead (see `models.stage2.dmol`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from models.stage2.dmol import (
    Conditionals,
    Layout,
    Mixture,
    bits_per_dimension,
    log_likelihood,
    mixture_of,
    scaled,
)
from models.verify.check import Result
from models.verify.recorded import AbsentError, Recorded

Clip = Literal["each", "last"]

# Of likelihoods in float32, whose differences of sigmoids lose digits, and of what is summed.
_NLL, _NLL_RELATIVE, _SUM_RELATIVE = 5e-3, 5e-4, 2e-5
_EXACT = 1e-5  # in float64
_SAMPLE = 1e-4
_CHANNELS = {"": 3, "gray_": 1}
INPUTS = frozenset(
    {"images_u8", "params", "u_mix", "u_x", "gray_params", "pmf_params", "sample_component"}
)


def mixtures(recorded: Recorded) -> Iterator[Result]:
    """Everything that a set of mixtures holds."""
    if "params" not in recorded.arrays or "u_mix" not in recorded.arrays:
        return
    for prefix in _CHANNELS:
        if f"{prefix}params" in recorded.arrays:
            yield from _likelihoods(recorded, prefix)
            yield from _samples(recorded, prefix)
    yield from _layouts(recorded)
    yield from _bytes(recorded)
    num_values = recorded.arrays["images_u8"].size
    if (bits := recorded.info.get("bits_per_dim")) is not None:
        found = bits_per_dimension(float(_nll(recorded, "").sum()), num_values)
        yield Result("bits_per_dim", abs(found - bits) / bits, _SUM_RELATIVE, "relative")


def _params(recorded: Recorded, prefix: str) -> Tensor:
    """[B, H, W, 10 K] float64."""
    return recorded.tensor(f"{prefix}params").double().permute(0, 2, 3, 1)


def _pixels(recorded: Recorded, prefix: str) -> Tensor:
    """[B, H, W, C]."""
    values = recorded.tensor("images_u8")[:, : _CHANNELS[prefix]]
    return scaled(values, torch.float64).permute(0, 2, 3, 1)


def _nll(recorded: Recorded, prefix: str, params: Tensor | None = None) -> Tensor:
    params = _params(recorded, prefix) if params is None else params
    mixture = mixture_of(params, _CHANNELS[prefix])
    return -log_likelihood(mixture, _pixels(recorded, prefix))


def _likelihoods(recorded: Recorded, prefix: str) -> Iterator[Result]:
    params = _params(recorded, prefix).requires_grad_(True)
    nll = _nll(recorded, prefix, params)
    (gradient,) = torch.autograd.grad(nll.sum(), params)
    gradient = gradient.permute(0, 3, 1, 2)
    yield judged(recorded, f"{prefix}nll_pixel", nll, _NLL, _NLL_RELATIVE)
    yield relative(recorded, f"{prefix}loss_sum", nll.sum(), _SUM_RELATIVE)
    yield _gradient(recorded, f"{prefix}grad", gradient, 1e-2)
    if not prefix:
        yield judged(recorded, "nll_pixel_f64", nll, _EXACT)
        yield _gradient(recorded, "grad_f64", gradient, _EXACT)


def _gradient(recorded: Recorded, name: str, found: Tensor, tolerance: float) -> Result:
    wanted = recorded.tensor(name).double()
    error = ((found - wanted).abs() / wanted.abs().clamp(min=1)).max()
    return Result(name, float(error), tolerance, "relative above 1")


def _samples(recorded: Recorded, prefix: str) -> Iterator[Result]:
    channels = _CHANNELS[prefix]
    mixture = mixture_of(_params(recorded, prefix), channels)
    u_mix = recorded.tensor("u_mix").double()
    u_x = recorded.tensor("u_x").double()[..., :channels]
    chosen = chosen_component(mixture, u_mix)
    drawn = sampled(mixture, chosen, u_x, "each")
    yield judged(recorded, f"{prefix}sample", drawn.permute(0, 3, 1, 2), _SAMPLE)
    if prefix:
        return
    yield differing(recorded, "sample_component", chosen)
    yield differing(recorded, "sample_u8", to_bytes(drawn).permute(0, 3, 1, 2))
    last = sampled(mixture, chosen, u_x, "last")
    yield judged(recorded, "t2t_sample", last.permute(0, 3, 1, 2), _SAMPLE)


def _layouts(recorded: Recorded) -> Iterator[Result]:
    """Numbers in another order mean the same."""
    wanted = mixture_of(_params(recorded, ""), 3)
    layouts: dict[str, Layout] = {
        "layout_t2t": "channels_last",
        "layout_torch_it": "channels_first",
    }
    for name, layout in layouts.items():
        order = recorded.tensor(name)
        found = mixture_of(_params(recorded, "")[..., order], 3, layout)
        parts = zip(_parts(found), _parts(wanted), strict=True)
        yield Result(name, max(float((a - b).abs().max()) for a, b in parts), 0)


def _parts(mixture: Mixture) -> list[Tensor]:
    return [mixture.logits, mixture.means, mixture.log_scales, mixture.coefficients]


def _bytes(recorded: Recorded) -> Iterator[Result]:
    """Every byte's probability: as the authors' formula has it, and as the service draws."""
    params = recorded.tensor("pmf_params").double()
    every = scaled(torch.arange(256), torch.float64).view(1, 256, 1)
    found = log_likelihood(mixture_of(params[:, None], 1), every)
    yield judged(recorded, "pmf_logp", found, _NLL, _NLL_RELATIVE)
    drawn = Conditionals(mixture_of(params, 1)).log_probabilities()
    apart = float((drawn.exp() - found.exp()).abs().max())
    yield Result("pmf as drawn", apart, _EXACT)
    yield Result("pmf sums", float((drawn.exp().sum(-1) - 1).abs().max()), 1e-6)


def chosen_component(mixture: Mixture, uniform: Tensor) -> Tensor:
    """Component [...] by uniform numbers [..., K], the largest after adding Gumbel noise."""
    return (mixture.logits - (-uniform.log()).log()).argmax(-1)


def sampled(mixture: Mixture, chosen: Tensor, uniform: Tensor, clip: Clip) -> Tensor:
    """Real values [..., C] of the chosen component, by uniform numbers [..., C].

    PixelCNN++ clips each channel before the next one uses it, tensor2tensor all at the end.
    """
    noise = uniform.log() - (-uniform).log1p()
    values = mixture.means.new_zeros(*chosen.shape, 0)
    for channel in range(mixture.num_channels):
        at = chosen[..., None]
        mean = mixture.mean(channel, values).gather(-1, at)
        scale = mixture.log_scales[..., channel, :].gather(-1, at).exp()
        value = mean + scale * noise[..., channel, None]
        values = torch.cat((values, value.clamp(-1, 1) if clip == "each" else value), -1)
    return values.clamp(-1, 1)


def to_bytes(x: Tensor) -> Tensor:
    """-1..1 → bytes, halves to the even one."""
    return ((x + 1) * 127.5).round().long()


def judged(
    recorded: Recorded, name: str, found: Tensor, tolerance: float, rtol: float = 0
) -> Result:
    """The worst difference, less what is allowed in proportion. AbsentError if none is recorded."""
    if name not in recorded.arrays:
        raise AbsentError(name)
    wanted = recorded.tensor(name).double()
    if found.shape != wanted.shape:
        shapes = f"shape {tuple(found.shape)}, recorded {tuple(wanted.shape)}"
        return Result(name, float("inf"), tolerance, shapes)
    excess = (found.detach().double() - wanted).abs() - rtol * wanted.abs()
    note = f"beside {rtol:g} in proportion" if rtol else ""
    return Result(name, float(excess.max().clamp(min=0)), tolerance, note)


def relative(recorded: Recorded, name: str, found: Tensor, tolerance: float) -> Result:
    """A single number's difference in proportion."""
    wanted = float(recorded.tensor(name))
    return Result(name, abs(float(found.detach()) - wanted) / abs(wanted), tolerance, "relative")


def differing(recorded: Recorded, name: str, found: Tensor) -> Result:
    """How many codes differ."""
    wanted = recorded.tensor(name)
    if found.shape != wanted.shape:
        return Result(name, float("inf"), 0, f"recorded in shape {tuple(wanted.shape)}")
    return Result(name, int((found.long() != wanted.long()).sum()), 0)
