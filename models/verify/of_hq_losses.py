"""What the HQ family is trained on, computed again: the losses, and stage 2's gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from models.stage1.hq_vae import Quantised, to_cells
from models.stage2.code_loss import text_cross_entropy
from models.verify.check import Facts, Result
from models.verify.hq_recorded import (
    by_depth,
    conditions,
    quantised,
    soft_codes,
    stage1_of,
    stage2_of,
)
from models.verify.recomputed import gradient_errors
from models.verify.subject import Subject

LOSS = 1e-3
_COMMITMENT = 0.25  # relative to the reconstruction


def losses(subject: Subject) -> Iterator[Result]:
    """What stage 2 is trained on, of the recorded images."""
    wanted: dict[str, float] = subject.recorded.fact("loss")
    with torch.inference_mode():
        found = _stage2_losses(subject)
    for name, value in wanted.items():
        yield Result(f"loss.{name}", abs(found.get(name, math.inf) - value), LOSS)


def _stage2_losses(subject: Subject) -> dict[str, float]:
    stage2, config = stage2_of(subject), stage2_of(subject).config
    prefix, codes, targets = _training_batch(subject)
    logits, text = stage2(prefix, codes)
    levels = stage2.level_losses(logits, codes, targets).tolist()
    found = {f"loss_level{i}": value for i, value in enumerate(levels)}
    found |= {"loss_top": levels[0], "loss_bot": levels[-1]}
    found |= {"loss_img": levels[0] + config.weight_bottom * levels[-1]}
    found |= {"loss": float(stage2.loss(prefix, codes, targets))}
    if text is not None:
        found["loss_txt"] = float(text_cross_entropy(text, prefix))
    return found


def codec_losses(subject: Subject) -> Iterator[Result]:
    """What stage 1 is trained on."""
    stage1, levels = stage1_of(subject), quantised(subject)
    with torch.inference_mode():
        made = stage1.decode([level.codes for level in levels])
    yield from compare_codec(subject, levels, made, is_averaged=stage1.config.ema_update)


def compare_codec(
    subject: Subject, levels: list[Quantised], made: Tensor, *, is_averaged: bool
) -> Iterator[Result]:
    """A codec's recorded losses, of its levels' choices and the raw pixels that they make.

    By their relative error, since most are near zero. Codebooks that learn by gradients have a term
    of the commitment's value, and of weight 1, unless they are moving averages.
    """
    wanted: dict[str, float | list[float]] = subject.recorded.fact("vae")
    weight = _COMMITMENT if is_averaged else 1 + _COMMITMENT
    commit = [weight * float(F.mse_loss(level.wanted, level.vectors)) for level in levels]
    found = {
        "rec_mse": [float(F.mse_loss(made, subject.recorded.tensor("enc_images")))],
        "commit": commit,
        "commit_top": commit[:1],
        "commit_bot": commit[-1:],
        "quant_loss": [sum(commit)],
        "resid_l1": [float(levels[-1].wanted.abs().mean())],
        # A slip of the reference's trainer: it takes the last level's for something else.
        "quant_loss_as_trained_by_reference": [sum(commit[:-1])],
    }
    for name, value in wanted.items():
        values = value if isinstance(value, list) else [value]
        pairs = zip(values, found.get(name, [math.inf] * len(values)), strict=True)
        yield Result(f"vae.{name}", max(abs(a - b) / abs(a) for a, b in pairs), LOSS, "relative")


def train_grad_norm(subject: Subject) -> Iterator[Result]:
    """Of the training loss, per upstream parameter."""
    stage2, batch = stage2_of(subject), _training_batch(subject)
    wanted: dict[str, float | None] = subject.recorded.fact("train_grad_norm")
    yield gradient_errors(subject, wanted, lambda: stage2.loss(*batch))


def _training_batch(subject: Subject) -> tuple[Tensor, Tensor, list[Tensor] | None]:
    """Prefix ids, cells of the recorded images, and their soft targets per depth."""
    temperature = stage2_of(subject).config.temp_soft_labels
    with torch.no_grad():
        codes = to_cells([level.codes for level in quantised(subject)])
        soft = soft_codes(subject, len(codes), temperature) if temperature else None
    prefix = conditions(subject).expand(len(codes), -1)
    return prefix, codes, by_depth(subject, soft) if soft else None


FACTS: tuple[Facts, ...] = (losses, codec_losses, train_grad_norm)
