"""Arrays and losses of the multi-scale VQ and its two transformers, computed again.

Recorded codes are a grid's, [B, h, w] or [B, h·w]; the model's are both grids', one behind the
other.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from models.stage1.hq_vae import Quantised
from models.stage1.multi_scale import MultiScaleVQ, to_sequence
from models.stage2.two_scales import TwoScales
from models.verify.check import LOGITS, Check, Facts, Result, Tie
from models.verify.of_hq_losses import LOSS, compare_codec
from models.verify.recomputed import named_checks
from models.verify.recorded import AbsentError
from models.verify.subject import Subject
from models.verify.walk import best_around, through_the_state

_GRIDS = ("top", "bot")


def tf_logits(subject: Subject, grid: str) -> Tensor:
    return _split(subject, _teacher_forced(subject)[0])[_GRIDS.index(grid)]


def tf_logits_bot_txt(subject: Subject) -> Tensor:
    """What the second transformer says of the coarse codes, though it isn't trained to."""
    again = _teacher_forced(subject)[1]
    if again is None:
        raise AbsentError("a text head")
    return again


@torch.inference_mode()
def cached_logits_bot(subject: Subject) -> Tensor:
    """Of the first row."""
    codes, labels = _sequence(subject, "dec_codes"), subject.prefixes("tf_labels")
    seen = through_the_state(_stage2(subject), labels[0], codes[0])
    return _split(subject, torch.cat(seen)[None])[1]


def greedy_codes(subject: Subject, grid: str) -> Tensor:
    drawn = subject.draw_greedily(subject.prefixes("greedy_labels"))
    return _split(subject, drawn)[_GRIDS.index(grid)].flatten(1)


@torch.inference_mode()
def given_codes_bot(subject: Subject) -> Tensor:
    """The finer codes that follow, greedily, from recorded coarse ones."""
    top = subject.recorded.tensor("dec_codes_top").flatten(1)
    ids = subject.prefixes("tf_labels")[0]
    num_finer = _stage2(subject).config.bottom.num_steps
    rows = [
        best_around(subject.prior, ids, F.pad(row, (0, num_finer), value=-1)[:, None])
        for row in top
    ]
    return _split(subject, torch.stack(rows))[1].flatten(1)


@torch.inference_mode()
def e2e_pixels(subject: Subject) -> Tensor:
    return subject.codec.pixels(subject.draw_greedily(subject.prefixes("greedy_labels")[:1]))


def enc_prequant(subject: Subject, grid: str) -> Tensor:
    return _quantised(subject)[_GRIDS.index(grid)].wanted


def enc_codes(subject: Subject, grid: str) -> Tensor:
    return _quantised(subject)[_GRIDS.index(grid)].codes


@torch.inference_mode()
def enc_recon_raw(subject: Subject) -> Tensor:
    top, bottom = _quantised(subject)
    return _stage1(subject).decode(top.codes, bottom.codes)


@torch.inference_mode()
def dec_raw(subject: Subject) -> Tensor:
    grids = (subject.recorded.tensor(f"dec_codes_{grid}") for grid in _GRIDS)
    return _stage1(subject).decode(*grids)


@torch.inference_mode()
def dec_pixels(subject: Subject) -> Tensor:
    return subject.codec.pixels(_sequence(subject, "dec_codes"))


def losses(subject: Subject) -> Iterator[Result]:
    """Of both transformers, on the codes of the recorded images."""
    wanted: dict[str, float] = subject.recorded.fact("loss")
    config = _stage2(subject).config
    top, bottom = (level.codes.flatten(1) for level in _quantised(subject))
    with torch.inference_mode():
        logits, _ = _stage2(subject).forward(
            subject.prefixes("tf_labels"), torch.cat((top, bottom), 1)
        )
    parts = torch.split(logits, [config.top.num_steps, config.bottom.num_steps], 1)
    pairs = zip(("top", "bottom"), parts, (top, bottom), strict=True)
    for name, part, codes in pairs:
        found = float(F.cross_entropy(part.flatten(0, 1), codes.flatten()))
        yield Result(f"loss.{name}", abs(found - wanted[name]), LOSS)


def codec_losses(subject: Subject) -> Iterator[Result]:
    """What stage 1 is trained on."""
    is_averaged = _stage1(subject).config.ema_update
    made = enc_recon_raw(subject)
    yield from compare_codec(subject, _quantised(subject), made, is_averaged=is_averaged)


def _stage1(subject: Subject) -> MultiScaleVQ:
    if not isinstance(subject.stage1, MultiScaleVQ):
        raise AbsentError("a multi-scale VQ")
    return subject.stage1


def _stage2(subject: Subject) -> TwoScales:
    if not isinstance(subject.stage2, TwoScales):
        raise AbsentError("two transformers")
    return subject.stage2


@torch.inference_mode()
def _teacher_forced(subject: Subject) -> tuple[Tensor, Tensor | None]:
    codes = _sequence(subject, "dec_codes")[..., 0]
    return _stage2(subject).forward(subject.prefixes("tf_labels"), codes)


@torch.inference_mode()
def _quantised(subject: Subject) -> list[Quantised]:
    """Of the recorded images as they are, without a way through pixels in 0..1."""
    return _stage1(subject).quantise(subject.recorded.tensor("enc_images"))


def _sequence(subject: Subject, array: str) -> Tensor:
    """Recorded codes of both grids, [B, T, 1]."""
    return to_sequence([subject.recorded.tensor(f"{array}_{grid}") for grid in _GRIDS])


def _split(subject: Subject, steps: Tensor) -> tuple[Tensor, Tensor]:
    """What there is of each step [B, T, ...] → that of both grids."""
    border = _stage2(subject).config.top.num_steps
    return steps[:, :border], steps[:, border:]


CHECKS = {
    **named_checks("scales/tf_logits", _GRIDS, tf_logits),
    "scales/tf_logits_bot_txt": Check(tf_logits_bot_txt),
    "scales/cached_logits_bot": Check(cached_logits_bot),
    **named_checks("scales/greedy_codes", _GRIDS, greedy_codes, "greedy_margin", 2 * LOGITS),
    "scales/given_codes_bot": Check(
        given_codes_bot, tie=Tie("given_margin_bot", 2 * LOGITS, excuses="row")
    ),
    "scales/e2e_pixels": Check(e2e_pixels),
    **named_checks("scales/enc_prequant", _GRIDS, enc_prequant),
    **named_checks("scales/enc_codes", _GRIDS, enc_codes, "enc_margin", 1e-4),
    "scales/enc_recon_raw": Check(enc_recon_raw),
    "scales/dec_raw": Check(dec_raw),
    "scales/dec_pixels": Check(dec_pixels),
}
INPUTS = {f"dec_codes_{grid}" for grid in _GRIDS}
FACTS: tuple[Facts, ...] = (losses, codec_losses)
