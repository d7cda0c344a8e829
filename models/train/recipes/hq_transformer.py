"""The recipe of the HQ family's stage 2: cross-entropy of each level's codes, finer ones at once.

Weights of the levels and of the text, and whether targets are soft, are the shape's own, as in the
official files. Stage 1 is frozen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from models.configs.codec import CodecConfig
from models.configs.hq import HQTransformerConfig, HQVAEConfig
from models.drawing.sampling import Filters, RowParams, draw
from models.errors import ConfigError
from models.presets.register import get_preset
from models.stage1.hq_vae import HQVAE, soft_cells
from models.stage2.hq_transformer import HQTransformer
from models.train.loop.precision import exact
from models.train.recipes import transformer
from models.train.recipes.prior import Examples, PriorPlan, PromptShape

LOOKED_UP = ("tok_emb", "pos_emb", "sos", "head_")
WORDS = transformer.WORDS


def shape_of(codec: CodecConfig, prompt: PromptShape) -> HQTransformerConfig:
    """As wide and deep as `emoji-hq`, for the codes of `codec`; ConfigError if it is no HQ-VAE."""
    if not isinstance(codec, HQVAEConfig):
        raise ConfigError("an HQ-Transformer draws the codes of an HQ-VAE")
    is_text, num_steps = prompt.kind == "text", codec.code_shape[0]
    return replace(
        cast(HQTransformerConfig, get_preset("emoji-hq").stage2),
        prefix=prompt.kind,
        num_steps=num_steps,
        sizes=codec.n_embed,
        ratio=codec.ratio,
        drawing="parallel" if len(codec.n_embed) == 2 else "multilevel",
        ctx_len_img=num_steps,
        vocab_size_txt=prompt.vocab_size if is_text else 0,
        ctx_len_txt=prompt.length if is_text else 0,
        n_classes=prompt.vocab_size if prompt.kind == "class" else 0,
    )


def plan_of(steps: int, is_fine_tuning: bool) -> PriorPlan:
    """As the flat transformer; the text's weight is the shape's."""
    return replace(transformer.plan_of(steps, is_fine_tuning), text_weight=None)


def loss(
    model: HQTransformer,
    codec: HQVAE | None,
    batch: Examples,
    plan: PriorPlan,
    rng: torch.Generator,
) -> Tensor:
    """See PriorLoss. ConfigError where options ask for what this family does otherwise."""
    if plan.text_weight is not None:
        raise ConfigError("an HQ-Transformer's text weight is its shape's: --shape weight_txt=0.1")
    targets = _soft_targets(model.config.temp_soft_labels, codec, batch)
    seen = with_own_codes(model, batch, plan.own_codes, rng) if plan.own_codes else None
    return model.loss(batch.prefix, batch.codes, targets, seen)


@torch.no_grad()
def _soft_targets(
    temperature: float | None, codec: HQVAE | None, batch: Examples
) -> list[Tensor] | None:
    """None without a temperature. ConfigError where what they are made of is not there."""
    if temperature is None:
        return None
    if batch.features is None:
        raise ConfigError("temp_soft_labels wants features: make the codes with --soft")
    if codec is None:
        raise ConfigError("temp_soft_labels wants stage 1's codebooks: give --stage1")
    with exact(batch.features.device.type):
        return soft_cells(codec.soft(batch.features, temperature))


@torch.no_grad()
def with_own_codes(
    model: HQTransformer, batch: Examples, share: float, rng: torch.Generator
) -> Tensor:
    """The codes [B, T, D], of whose finer ones this share are as the model draws them.

    Scheduled sampling in one pass (Bengio et al. 2015; Mihaylova and Martins 2019). The finer codes
    of a cell are drawn without knowing each other, so in combinations that no picture has; a model
    that has only seen those of pictures takes them for hints at which picture it is, from the first
    white cell on, and then draws a mixture. Coarsest codes stay, as what comes next depends on
    them.
    """
    finer = batch.codes[..., 1:]
    logits = model(batch.prefix, batch.codes)[0][..., 1:, :]
    torch.clear_autocast_cache()  # not all versions look whether a kept cast has gradients
    # One row's, for all of them: nothing is left out.
    unfiltered = Filters.of([RowParams(seed=0)], logits.shape[-1], finer.device)
    uniform = torch.rand(finer.shape, generator=rng, device=finer.device, dtype=torch.float64)
    drawn = draw(logits, unfiltered, uniform)
    is_own = torch.rand(finer.shape, generator=rng, device=finer.device) < share
    return torch.cat((batch.codes[..., :1], torch.where(is_own, drawn, finer)), -1)
