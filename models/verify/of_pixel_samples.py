"""Pictures of pixel models drawn as their authors draw, by recorded uniform numbers.

In real numbers, a pixel after the other; the service draws the same distributions in bytes.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from models.configs.pixels import ImageTransformerConfig, codec_for
from models.families import build_codec
from models.stage1.raw_pixels import RawPixels
from models.stage2.dmol import mixture_of, scaled
from models.stage2.image_transformer import ImageTransformer
from models.verify.check import Result
from models.verify.of_dmol import chosen_component, differing, judged, sampled, to_bytes
from models.verify.pixel_model import PixelModel, head

_TOLERANCE = 1e-4


@torch.inference_mode()
def _mixtures_drawn(model: PixelModel, *, rounded: bool) -> Tensor:
    """Pictures [B, C, H, W] in -1..1 by the recorded uniform numbers, pixel after pixel."""
    u_mix, u_x = _uniforms(model)
    _, _, height, width = model.values.shape
    x = torch.zeros(model.values.shape, dtype=torch.float64)
    for place in range(height * width):
        i, j = divmod(place, width)
        params = head(model, model.exact, x * 127.5 + 127.5)
        if isinstance(model.config, ImageTransformerConfig):
            mixture = mixture_of(params[:, i, j], x.shape[1], "channels_first")
        else:
            mixture = mixture_of(params[..., i, j], x.shape[1])
        chosen = chosen_component(mixture, u_mix[:, i, j])
        pixel = sampled(mixture, chosen, u_x[:, i, j], "each")
        x[..., i, j] = scaled(to_bytes(pixel), torch.float64) if rounded else pixel
    return x


def _uniforms(model: PixelModel) -> tuple[Tensor, Tensor]:
    """For the choice of a component [B, H, W, K] and for each channel [B, H, W, C]."""
    arrays, shape = model.recorded.arrays, model.values.shape
    if f"{model.prefix}u_mix_raw" in arrays:
        raw = (model.array(f"{name}_raw").double() for name in ("u_mix", "u_x"))
        u_mix, u_x = (u * (1 - 2e-5) + 1e-5 for u in raw)
        return u_mix.unflatten(1, shape[2:]), u_x.unflatten(1, shape[2:])  # type: ignore[no-untyped-call]  # torch has no types here
    prefix = model.prefix if f"{model.prefix}u_mix" in arrays else ""
    u_mix, u_x = (model.recorded.tensor(f"{prefix}{name}").double() for name in ("u_mix", "u_x"))
    return u_mix, u_x


def sample(model: PixelModel, name: str) -> Result:
    return judged(model.recorded, name, _mixtures_drawn(model, rounded=False), _TOLERANCE)


def sample_rounded(model: PixelModel, name: str) -> Result:
    return differing(model.recorded, name, to_bytes(_mixtures_drawn(model, rounded=True)))


@torch.inference_mode()
def sample_bytes(model: PixelModel, name: str) -> Result:
    """A categorical model's, the largest after adding the recorded Gumbel noise."""
    uniform = model.array("uniforms").double() * (1 - 2e-5) + 1e-5  # [B, T, 256]
    noise, prior = -(-uniform.log()).log(), cast(ImageTransformer, model.module)
    rows = torch.arange(len(uniform))
    prefix, state = prior.prefill(model.ids(1)[:1]), prior.new_state(len(uniform))
    state.put(prefix, rows)
    hidden, drawn = prefix.hidden.expand(len(rows), -1), list[Tensor]()
    for step in range(prior.num_steps):
        if step:
            fed = torch.full_like(rows, step - 1)
            hidden = prior.decode(drawn[-1], fed, state, prior.reaches[-1])
        at = noise[:, step]
        drawn.append(prior.sample(hidden, state, lambda logits, _, at=at: (logits + at).argmax(-1)))  # type: ignore[misc]  # a default is no argument that a draw has
    codec = cast(RawPixels, build_codec(codec_for(model.config)))
    return differing(model.recorded, name, codec.values(torch.stack(drawn, 1)))
