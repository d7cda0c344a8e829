"""How an upsampler learns over a frozen codec: first its own codec, then the light prior.

The finer codes are of what the codec's pictures lack. What is made of them stays, scaled down, near
to those pictures (`Consistency`); a wrong code then does little harm. The prior learns with some of
the coarse codes replaced at random, since those that it will read are drawn and not perfect. Knows
nothing of text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from math import isqrt
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.backbone import BackboneConfig
from models.configs.codec import CodecConfig
from models.configs.rq import RQVAEConfig
from models.configs.transformer import StackConfig
from models.configs.upsamplers import CellUpsamplerConfig
from models.enhance.cell_upsampler import CellUpsampler
from models.errors import ConfigError
from models.stage1.codec import Codec
from models.train.loop.learner import Stateful
from models.train.loop.run import Run
from models.train.recipes import transformer, vqgan
from models.train.recipes.codec import CodecPlan
from models.train.recipes.grid_codes import GridCodes
from models.train.recipes.prior import Examples, PriorPlan

LOOKED_UP = ("tok_emb", "pos_emb", "classifier")
NOISE = 0.08  # share of coarse codes that are replaced while the prior learns
SCALE = 4  # how much smaller pictures are compared with the coarse ones
_WIDTH = 256


def shape_for(codec: CodecConfig) -> CellUpsamplerConfig:
    """Codes twice as fine as the codec's finest, by its own widths and a prior of 4 + 1 layers.

    Raises:
        ConfigError: this codec has no square grid that can be made finer.
    """
    side = isqrt(codec.code_shape[0])
    autoencoder = codec.autoencoder if isinstance(codec, RQVAEConfig) else codec
    if not isinstance(autoencoder, BackboneConfig) or len(autoencoder.ch_mult) < 2:
        raise ConfigError("an upsampler is trained over a codec of several resolutions")
    if side**2 != codec.code_shape[0] or autoencoder.grid_size % side:
        raise ConfigError("an upsampler is trained over codes of one square grid")
    names = [field.name for field in fields(BackboneConfig)]
    own = BackboneConfig(**{name: getattr(autoencoder, name) for name in names})
    return CellUpsamplerConfig(
        num_steps=side**2,
        coarse_sizes=codec.vocab_sizes,
        ratio=2 * own.grid_size // side,
        n_embed=1024,
        embed_dim=16,
        codec=replace(own, ch_mult=own.ch_mult[:-1], attn_resolutions=()),
        body=StackConfig(_WIDTH, 4, 4),
        head=StackConfig(_WIDTH, 1, 4),
    )


class Coarse:
    """What a frozen codec makes of pictures; remembers those of the batch under way."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.latest = torch.empty(0)

    @torch.no_grad()
    def codes(self, images: Tensor) -> Tensor:
        """Images in [-1, 1] [B, 3, H, W] → [B, T, D]."""
        return self._codec.encode(images * 0.5 + 0.5)

    @torch.no_grad()
    def images(self, codes: Tensor) -> Tensor:
        """Codes [B, T, D] → coarse images in [-1, 1]."""
        self.latest = self._codec.pixels(codes) * 2 - 1
        return self.latest


def codec_loss(made: Tensor, images: Tensor) -> Tensor:
    """L1 and L2 on pixels and L1 on edges; colours over large are the coarse codes' affair."""
    edges = [F.l1_loss(made.diff(dim=dim), images.diff(dim=dim)) for dim in (2, 3)]
    return F.l1_loss(made, images) + F.mse_loss(made, images) + 0.4 * (edges[0] + edges[1])


def codec_plan(steps: int) -> CodecPlan:
    """As the VQGAN's, with a loss of its own and a shorter time without codes."""
    plan = vqgan.plan_of(None, steps, is_fine_tuning=False)
    return replace(plan, unquantised=min(plan.unquantised, steps // 10), loss=codec_loss)


def codes_of(model: CellUpsampler, coarse: Coarse, run: Run, plan: CodecPlan) -> GridCodes:
    """The finer codebook in training."""
    codec = model.codec

    grid = vqgan.one_grid(
        codec.quantize,
        lambda images: codec.features(images, coarse.images(coarse.codes(images))),
        lambda vectors: codec.decode_vectors(vectors, coarse.latest),
    )
    return GridCodes(grid, run, plan, "codebook")


class Consistency:
    """A `Critic`: finer pictures, scaled down, shall be the coarse ones scaled down."""

    state: Mapping[str, Stateful] = MappingProxyType({})

    def __init__(self, coarse: Coarse, weight: float = 4.0) -> None:
        self._coarse = coarse
        self._weight = weight

    def loss(self, _step: int, made: Tensor, _images: Tensor, _so_far: Tensor) -> Tensor:
        """See Critic."""
        return self._weight * F.mse_loss(_smaller(made), _smaller(self._coarse.latest))

    def learn(self, _step: int, _made: Tensor, _images: Tensor) -> dict[str, float]:
        """See Critic: it has nothing to learn."""
        return {}


def prior_plan(steps: int) -> PriorPlan:
    """As the flat transformer's from scratch."""
    return transformer.plan_of(steps, is_fine_tuning=False)


def prior_loss(
    model: CellUpsampler, _codec: object, batch: Examples, _plan: PriorPlan, rng: torch.Generator
) -> Tensor:
    """See PriorLoss: of finer codes [B, T, K] whose prefix are the coarse ones [B, T, D]."""
    return model.prior.loss(noisy(batch.prefix, model.config.coarse_sizes, rng), batch.codes)


def noisy(codes: Tensor, sizes: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Codes [B, T, D] of which a share is replaced by others of their depth."""
    limits = torch.tensor(sizes, device=codes.device)
    chances = [torch.rand(codes.shape, generator=rng, device=codes.device) for _ in range(2)]
    return torch.where(chances[1] < NOISE, (chances[0] * limits).long(), codes)


def begin_at_the_coarse_picture(model: CellUpsampler) -> None:
    """Make a fresh upsampler's correction nothing at all."""
    last = model.codec.decoder.conv_out
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)


def _smaller(images: Tensor) -> Tensor:
    return F.avg_pool2d(images, SCALE)
