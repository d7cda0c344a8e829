"""The recipe of minDALL-E's transformer over codes: teacher-forced cross-entropy.

Knows pictures only as codes and prompts only as ids.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from models.configs.codec import CodecConfig
from models.configs.transformer import TransformerConfig
from models.presets.register import get_preset
from models.stage2.transformer import Transformer
from models.train.loop.schedule import Schedule
from models.train.recipes.prior import Examples, PriorPlan, PromptShape

SIZES = {"1.3B": "mindalle-1.3b"}  # and the preset that is of this size
LOOKED_UP = ("tok_emb", "pos_emb", "head", "sos")
WORDS = ("tok_emb_txt.", "pos_emb_txt.")


def shape_of(codec: CodecConfig, prompt: PromptShape, size: str | None = None) -> TransformerConfig:
    """Of a size in SIZES, else the emoji model's, for the codes of `codec`."""
    model = sized(size)
    is_text = prompt.kind == "text"
    return replace(
        model,
        prefix=prompt.kind,
        vocab_size_img=codec.vocab_sizes[0],
        ctx_len_img=codec.code_shape[0],
        vocab_size_txt=prompt.vocab_size if is_text else 0,
        ctx_len_txt=prompt.length if is_text else 0,
        n_classes=prompt.vocab_size if prompt.kind == "class" else 0,
    )


def sized(size: str | None) -> TransformerConfig:
    """The shape of the released model of a size; without one, of the emoji model."""
    shape = get_preset(SIZES[size] if size else "emoji").stage2
    assert isinstance(shape, TransformerConfig)
    return shape


def plan_of(steps: int, is_fine_tuning: bool) -> PriorPlan:
    """From scratch by Muon; a checkpoint goes on as minDALL-E's authors fine-tune it."""
    if is_fine_tuning:
        schedule = Schedule(steps, warm_up=1, floor=0.0)
        return PriorPlan(schedule, muon_lr=None, adam_lr=1e-4, clip_norm=4.0)
    return PriorPlan(Schedule(steps, warm_up=min(100, 1 + steps // 15)))


def large_plan_of(steps: int) -> PriorPlan:
    """From scratch at a released size: the numbers of the authors' fine-tuning, and a warm-up."""
    schedule = Schedule(steps, warm_up=min(2000, 1 + steps // 50), floor=0.0)
    return replace(plan_of(steps, is_fine_tuning=True), schedule=schedule)


def loss(
    model: Transformer, _codec: object, batch: Examples, plan: PriorPlan, _rng: torch.Generator
) -> Tensor:
    """See PriorLoss."""
    return model.loss(batch.prefix, batch.codes, plan.text_weight or 0.0)
