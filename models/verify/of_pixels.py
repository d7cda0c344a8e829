"""Arrays and facts of the pixel families, computed again from one model of a set.

Logits in float32, as the service computes them; likelihoods, gradients and the authors' sampling in
real numbers in float64. What is drawn greedily goes through the real loop.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.configs.pixels import ImageTransformerConfig, PixelCNNPPConfig, codec_for
from models.drawing.candidates import draw_all
from models.drawing.generate import Batch
from models.drawing.sampling import RowParams
from models.families import as_prior, build_codec
from models.stage1.raw_pixels import RawPixels
from models.stage2.dmol import bits_per_dimension, scaled
from models.stage2.image_transformer import ImageTransformer
from models.stage2.local_attention import timing
from models.stage2.pixel_cnn import PixelCNN
from models.stage2.pixel_cnn_pp import PixelCNNPP
from models.verify.check import LOGITS, Result
from models.verify.of_dmol import differing, judged, relative
from models.verify.of_pixel_samples import sample, sample_bytes, sample_rounded
from models.verify.pixel_model import PixelModel, head

_NLL, _NLL_RELATIVE, _SUM_RELATIVE = 5e-3, 5e-4, 2e-5
_GRADIENT = 1e-3


def results(model: PixelModel) -> Iterator[Result]:
    """Everything that the set holds of one model."""
    kinds: tuple[tuple[type[Any], dict[str, _Computed]], ...] = (
        (PixelCNNPPConfig, _OF_PP),
        (ImageTransformerConfig, _OF_TRANSFORMER),
    )
    own = next((table for kind, table in kinds if isinstance(model.config, kind)), _OF_PIXEL_CNN)
    for name, compute in (_OF_ALL | own).items():
        if f"{model.prefix}{name}" in model.recorded.arrays:
            yield compute(model, f"{model.prefix}{name}")
    yield from _facts(model)


@torch.inference_mode()
def _logits(model: PixelModel, name: str) -> Result:
    return judged(model.recorded, name, head(model, model.module, model.values), LOGITS)


@torch.inference_mode()
def _nll(model: PixelModel, name: str) -> Result:
    found = -model.exact.log_likelihood(model.values, model.classes)
    if found.dim() == model.values.dim():  # of sub-pixels: there are no mixtures
        return judged(model.recorded, name, found, LOGITS)
    return judged(model.recorded, name, found, _NLL, _NLL_RELATIVE)


def _loss(model: PixelModel) -> Tensor:
    nats: Tensor = -model.exact.log_likelihood(model.values, model.classes).sum()
    return nats


def _loss_sum(model: PixelModel, name: str) -> Result:
    return relative(model.recorded, name, _loss(model), _SUM_RELATIVE)


def _facts(model: PixelModel) -> Iterator[Result]:
    """Bits per dimension, and the gradient's norm for each parameter."""
    info, prefix = model.recorded.info, model.prefix
    own = info.get(f"{prefix}info") or info.get(prefix.rstrip("_") or "plain") or {}
    if "bits_per_dim" in own:
        found = bits_per_dimension(float(_loss(model).detach()), model.values.numel())
        error = abs(found / own["bits_per_dim"] - 1)
        yield Result(f"{prefix}bits_per_dim", error, _SUM_RELATIVE, "relative")
    if wanted := info.get(f"{prefix}grad_norm"):
        yield _gradient_norms(model, wanted)


def _gradient_norms(model: PixelModel, wanted: dict[str, float]) -> Result:
    module = model.exact.requires_grad_(True)
    gradients = torch.autograd.grad(_loss(model), list(module.parameters()), allow_unused=True)
    module.requires_grad_(False)
    names = (name for name, _ in module.named_parameters())
    norms = {
        name: 0.0 if gradient is None else float(gradient.norm())
        for name, gradient in zip(names, gradients, strict=True)
    }
    errors = {name: abs(norms[name] - norm) / max(norm, 1.0) for name, norm in wanted.items()}
    worst = max(errors, key=lambda name: errors[name])
    note = f"relative above 1, worst at {worst}"
    return Result(f"{model.prefix}grad_norm", errors[worst], _GRADIENT, note)


@torch.inference_mode()
def _dependence(model: PixelModel, name: str) -> Result:
    """How far the head moves, by pixel, when one value of the first picture is another."""
    sources = model.recorded.tensor(
        f"{model.prefix}dep_src" if f"{model.prefix}dep_src" in model.recorded.arrays else "dep_src"
    )
    moved = [_moved(model, source) for source in sources.tolist()]
    return judged(model.recorded, name, torch.stack(moved), LOGITS)


def _moved(model: PixelModel, source: list[int]) -> Tensor:
    module, values = model.module, model.values[:1]
    classes = None if model.classes is None else model.classes[:1]
    if isinstance(module, PixelCNNPP):
        x = scaled(values, torch.float32)
        other = x.clone()
        other[..., source[0], source[1]] = 0.3 - other[..., source[0], source[1]]
        found = [module(pixels, classes).movedim(1, -1) for pixels in (x, other)]
        return _apart(found)
    levels = max(model.config.vocab_sizes)
    x = values.float() / (levels - 1)
    other = x.clone()
    other[0, *source] = 1.1 - other[0, *source]
    if isinstance(module, PixelCNN):
        found = [module.logits(2 * pixels - 1) for pixels in (x, other)]
    else:
        found = [module(pixels, classes) for pixels in (x, other)]
    return _apart(found)


def _apart(found: list[Tensor]) -> Tensor:
    """How far two heads' numbers [1, ..., numbers] of each place are apart at most."""
    return (found[1] - found[0]).abs().amax(-1)[0]


@torch.inference_mode()
def _greedy(model: PixelModel, name: str) -> Result:
    """Through the loop that serves."""
    wanted = model.recorded.tensor(name)
    prior = as_prior(model.module)
    batch, params = Batch(prior, 1), [RowParams(seed=0, top_k=1)]
    drawn = [
        draw_all(batch, prior.prefill(ids[None]), params).codes for ids in model.ids(len(wanted))
    ]
    found = cast(RawPixels, build_codec(codec_for(model.config))).values(torch.cat(drawn))
    return differing(model.recorded, name, found)


@torch.inference_mode()
def _inside(model: PixelModel, name: str) -> Result:
    """Features of the first picture somewhere inside PixelCNN++."""
    network, what = cast(PixelCNNPP, model.module), name.rpartition("mid_")[2]
    u, ul = network.start(scaled(model.values[:1], torch.float32))
    _, last, above = network.streams(u, ul)
    found = {
        "u_init": u,
        "u_top": above[-1][0],
        "ul_top": above[-1][1],
        "elu_ul": nn.functional.elu(last),
    }
    return judged(model.recorded, name, found[what], LOGITS)


def _support(model: PixelModel, name: str) -> Result:
    plan = cast(ImageTransformer, model.module).tables.plan
    return differing(model.recorded, name, plan.support)


def _timing(model: PixelModel, name: str) -> Result:
    config = cast(ImageTransformerConfig, model.config)
    return judged(model.recorded, name, timing(config.grid, config.hidden_size), LOGITS)


_Computed = Callable[[PixelModel, str], Result]
_OF_ALL: dict[str, _Computed] = {"logits": _logits, "loss_sum": _loss_sum}
_OF_PIXEL_CNN: dict[str, _Computed] = {
    "nll": _nll,
    "greedy": _greedy,
    "dep_delta": _dependence,
}
_OF_PP: dict[str, _Computed] = {
    "nll_pixel": _nll,
    "dep_delta": _dependence,
    "sample": sample,
    "sample_rounded": sample_rounded,
    **dict.fromkeys(("mid_u_init", "mid_u_top", "mid_ul_top", "mid_elu_ul"), _inside),
}
_OF_TRANSFORMER: dict[str, _Computed] = {
    "nll": _nll,
    "greedy_u8": _greedy,
    "sample": sample,
    "sample_u8": sample_bytes,
    "mask": _support,
    "timing": _timing,
}
_INPUTS = re.compile(
    r".*(images(_u8)?|dep_src|u_mix|u_x|u_mix_raw|u_x_raw|uniforms|labels|cls_emb|greedy_margin)"
)


def is_input(name: str) -> bool:
    """Whether an array is what others are computed from."""
    return bool(_INPUTS.fullmatch(name))
