"""Arrays of the HQ family, computed again; most have a name per level."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from models.verify import of_hq_losses
from models.verify.check import LOGITS, Check, Facts, Tie
from models.verify.hq_recorded import (
    NAMES,
    cells,
    conditions,
    grid_of,
    grids,
    in_raster,
    level_of,
    quantised,
    soft_codes,
    stage1_of,
    stage2_of,
)
from models.verify.recomputed import named_checks
from models.verify.recorded import AbsentError
from models.verify.subject import Subject
from models.verify.walk import best_around, through_the_state

_SOFT = 1e-5


def tf_logits(subject: Subject, name: str) -> Tensor:
    return in_raster(subject, name, _teacher_forced(subject)[0])


def tf_logits_txt(subject: Subject) -> Tensor:
    text = _teacher_forced(subject)[1]
    if text is None:
        raise AbsentError("a text head")
    return text


@torch.inference_mode()
def cached_logits(subject: Subject, name: str) -> Tensor:
    """Of the first row."""
    codes = cells(subject, "tf_codes")[0]
    seen = through_the_state(subject.prior, conditions(subject)[0], codes)
    steps, widest = codes.shape[0], max(part.shape[-1] for part in seen)
    padded = [F.pad(part, (0, widest - part.shape[-1])) for part in seen]
    return in_raster(subject, name, torch.cat(padded).view(1, steps, -1, widest))


def greedy_codes(subject: Subject, name: str) -> Tensor:
    cells = subject.draw_greedily(subject.greedy_prefixes())
    return grid_of(subject, name, cells).flatten(1)


@torch.inference_mode()
def given_codes_bot(subject: Subject) -> Tensor:
    """The finer codes that follow, greedily, from given coarsest ones."""
    top = subject.recorded.tensor("tf_codes_top")
    prefixes = conditions(subject)
    if subject.preset.prompt_kind == "class":
        prefixes = prefixes[:1]
    num_finer = subject.prior.depth - 1
    rows = [
        best_around(subject.prior, ids, F.pad(row[:, None], (0, num_finer), value=-1))
        for ids, row in zip(prefixes.expand(len(top), -1), top, strict=True)
    ]
    return grid_of(subject, NAMES[-1], torch.stack(rows)).flatten(1)


@torch.inference_mode()
def e2e_pixels(subject: Subject) -> Tensor:
    return subject.codec.pixels(subject.draw_greedily(subject.greedy_prefixes()[:1]))


@torch.inference_mode()
def enc_codes(subject: Subject, name: str) -> Tensor:
    return quantised(subject)[level_of(subject, name)].codes


@torch.inference_mode()
def enc_residual(subject: Subject) -> Tensor:
    """What the coarser codes of image 0 leave over."""
    return quantised(subject)[-1].wanted[:1]


@torch.inference_mode()
def enc_quant(subject: Subject) -> Tensor:
    """The summed vectors of image 0, as the decoder sees them."""
    stage1 = stage1_of(subject)
    coarse, *finer = (level.vectors[:1] for level in quantised(subject))
    for up, vectors in zip(stage1.upsamples, finer, strict=True):
        coarse = up(coarse) + vectors
    return coarse


@torch.inference_mode()
def enc_recon_raw(subject: Subject) -> Tensor:
    return stage1_of(subject).decode([level.codes for level in quantised(subject)])


def soft(subject: Subject, name: str, array: str) -> Tensor:
    """Of image 0, as many positions as were recorded: a list of them, or whole rows."""
    wanted = subject.recorded.arrays[array]
    found = soft_codes(subject, 1)[level_of(subject, name)][0]  # [h, w, V]
    return found.flatten(0, 1)[: math.prod(wanted.shape[:-1])].view(wanted.shape)


@torch.inference_mode()
def dec_raw(subject: Subject) -> Tensor:
    return stage1_of(subject).decode(grids(subject, "dec_codes"))


@torch.inference_mode()
def dec_pixels(subject: Subject) -> Tensor:
    return subject.codec.pixels(cells(subject, "dec_codes"))


@torch.inference_mode()
def dec_part(subject: Subject, names: tuple[str, ...]) -> Tensor:
    """Of row 0, the named levels alone."""
    kept = [level_of(subject, name) for name in names]
    codes = enumerate(grids(subject, "dec_codes"))
    return stage1_of(subject).decode([grid[:1] if i in kept else None for i, grid in codes])


@torch.inference_mode()
def _teacher_forced(subject: Subject) -> tuple[Tensor, Tensor | None]:
    codes = cells(subject, "tf_codes")
    return stage2_of(subject).forward(conditions(subject).expand(len(codes), -1), codes)


def _soft(array: str, name: str) -> dict[str, Check]:
    return {f"hq/{array}": Check(partial(soft, name=name, array=array), _SOFT)}


CHECKS = {
    **named_checks("hq/tf_logits", NAMES, tf_logits),
    **named_checks("hq/cached_logits", NAMES, cached_logits),
    **named_checks("hq/greedy_codes", NAMES, greedy_codes, "greedy_margin", 2 * LOGITS),
    **named_checks("hq/enc_codes", NAMES, enc_codes, "enc_margin", 1e-4),
    "hq/tf_logits_txt": Check(tf_logits_txt),
    "hq/given_codes_bot": Check(
        given_codes_bot, tie=Tie("given_margin_bot", 2 * LOGITS, excuses="row")
    ),
    "hq/e2e_pixels": Check(e2e_pixels),
    "hq/enc_residual": Check(enc_residual),
    "hq/enc_quant": Check(enc_quant),
    "hq/enc_recon_raw": Check(enc_recon_raw),
    **_soft("soft_top", "top"),
    **_soft("soft_bot_rows2", "bot"),
    **_soft("soft_top_row0", "top"),
    **_soft("soft_mid_row0", "mid"),
    **_soft("soft_bot_row0", "bot"),
    "hq/dec_raw": Check(dec_raw),
    "hq/dec_pixels": Check(dec_pixels),
    "hq/dec_top_only_raw": Check(partial(dec_part, names=("top",))),
    "hq/dec_top_mid_raw": Check(partial(dec_part, names=("top", "mid"))),
    "hq/dec_bot_only_raw": Check(partial(dec_part, names=("bot",))),
}
INPUTS = {f"{array}_{name}" for array in ("tf_codes", "dec_codes") for name in NAMES}
FACTS: tuple[Facts, ...] = of_hq_losses.FACTS
