"""The recipe of the RQ family's stage 2.

Soft targets: how near every code is, not only which is nearest, for codes that are themselves drawn
by that nearness (Lee et al. 2022, section 3.2.3); a share of the loss is the text's. Stage 1 is
frozen.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from models.configs.codec import CodecConfig
from models.configs.rq import RQTransformerConfig, RQVAEConfig
from models.configs.transformer import StackConfig
from models.errors import ConfigError
from models.stage1.rq_vae import RQVAE
from models.stage2.rq_transformer import RQTransformer
from models.train.loop.precision import exact
from models.train.recipes import transformer
from models.train.recipes.prior import Examples, PriorPlan, PromptShape

LOOKED_UP = ("tok_emb", "cond_emb", "pos_emb", "linear")
WORDS = ("cond_emb.", "pos_emb_cond")
_WIDTH = 256


def shape_of(codec: CodecConfig, prompt: PromptShape) -> RQTransformerConfig:
    """As wide and deep as the emoji model, with a head of two layers, for the codes of `codec`.

    ConfigError if that is no RQ-VAE.
    """
    if not isinstance(codec, RQVAEConfig):
        raise ConfigError("an RQ-Transformer draws the codes of an RQ-VAE")
    return RQTransformerConfig(
        prefix=prompt.kind,
        block_size=codec.grid,
        vocab_sizes=codec.n_embed,
        vocab_size_cond=prompt.vocab_size,
        block_size_cond=prompt.length,
        embed_dim=_WIDTH,
        input_embed_dim=codec.code_dim,
        shared_cls_emb=len(set(codec.n_embed)) == 1,
        body=StackConfig(_WIDTH, 6, 4, resid_pdrop=0.0),
        head=StackConfig(_WIDTH, 2, 4, resid_pdrop=0.0),
    )


def plan_of(steps: int, is_fine_tuning: bool) -> PriorPlan:
    """From scratch as the flat transformer; a checkpoint as its authors train, at a fifth."""
    plan = replace(transformer.plan_of(steps, is_fine_tuning), text_weight=0.1, clip_norm=1.0)
    return replace(plan, weight_decay=1e-4) if is_fine_tuning else plan


def loss(
    model: RQTransformer, codec: RQVAE, batch: Examples, plan: PriorPlan, rng: torch.Generator
) -> Tensor:
    """See PriorLoss. Without features the targets are the codes themselves."""
    codes, targets = batch.codes, None
    if batch.features is not None:
        with torch.no_grad(), exact(batch.features.device.type):
            vectors = codec.fold(batch.features)
            draws = rng if plan.draws_codes else None
            targets, codes = codec.quantizer.soft(vectors, plan.tau, draws)
    return model.loss(batch.prefix, codes, targets, plan.text_weight or 0.0)
