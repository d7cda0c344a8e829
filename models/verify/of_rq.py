"""Arrays and losses of the RQ family, computed again. Each function's name is the array's.

Recorded codes are grids [B, h, w, D], here [B, T, D]; recorded features are channels last.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor

from models.stage1.rq_vae import RQVAE, commitment_loss
from models.stage2.code_loss import hard_cross_entropy, soft_cross_entropy, text_cross_entropy
from models.stage2.rq_transformer import RQTransformer
from models.verify.check import LOGITS, Check, Facts, Result, Tie
from models.verify.recorded import AbsentError
from models.verify.subject import Subject
from models.verify.walk import through_the_state

_TAU = 0.5  # of the recorded soft codes and losses
_TEXT_SHARE = 0.1
_LOSS = 1e-3


def tf_logits(subject: Subject) -> Tensor:
    return _like(subject, "tf_logits", _teacher_forced(subject)[0])


def tf_cond_logits(subject: Subject) -> Tensor:
    text = _teacher_forced(subject)[1]
    if text is None:
        raise AbsentError("a text head")
    return text


@torch.inference_mode()
def cached_logits(subject: Subject) -> Tensor:
    """Of the first row, as many steps as were recorded."""
    _, rows, columns, *_ = subject.recorded.arrays["cached_logits"].shape
    codes = _codes(subject, "tf_codes")[0, : rows * columns]
    logits = torch.cat(through_the_state(subject.prior, subject.prefixes("tf_cond")[0], codes))
    return _like(subject, "cached_logits", logits)


def greedy_codes(subject: Subject) -> Tensor:
    drawn = subject.draw_greedily(subject.prefixes("greedy_cond"))
    return _like(subject, "greedy_codes", drawn)


@torch.inference_mode()
def e2e_pixels(subject: Subject) -> Tensor:
    return subject.codec.pixels(subject.draw_greedily(subject.prefixes("greedy_cond")[:1]))


@torch.inference_mode()
def enc_prequant(subject: Subject) -> Tensor:
    return _stage1(subject).features(subject.recorded.tensor("enc_images")).permute(0, 2, 3, 1)


def enc_codes(subject: Subject) -> Tensor:
    return _like(subject, "enc_codes", _encoded(subject))


@torch.inference_mode()
def enc_quant_cumulative(subject: Subject) -> Tensor:
    sums = _stage1(subject).quantizer.vectors(_encoded(subject)[:1]).cumsum(2)
    return _like(subject, "enc_quant_cumulative", sums)


@torch.inference_mode()
def enc_recon_raw(subject: Subject) -> Tensor:
    return _stage1(subject).decode(_encoded(subject)[:1])


def soft_codes_temp05(subject: Subject) -> Tensor:
    """The first rows of image 0; a depth with fewer codes than others ends with zeros."""
    _, rows, columns, _, size = subject.recorded.arrays["soft_codes_temp05"].shape
    padded = [F.pad(target, (0, size - target.shape[-1])) for target in _targets(subject)]
    return _like(subject, "soft_codes_temp05", torch.stack(padded, 2)[:, : rows * columns])


@torch.inference_mode()
def dec_raw(subject: Subject) -> Tensor:
    return _stage1(subject).decode(_codes(subject, "dec_codes"))


@torch.inference_mode()
def dec_pixels(subject: Subject) -> Tensor:
    return _stage1(subject).pixels(_codes(subject, "dec_codes"))


@torch.inference_mode()
def dec_code_embeddings(subject: Subject) -> Tensor:
    vectors = _stage1(subject).quantizer.vectors(_codes(subject, "dec_codes")[:1])
    return _like(subject, "dec_code_embeddings", vectors)


@torch.inference_mode()
def dec_partial_add_1(subject: Subject) -> Tensor:
    return _stage1(subject).decode(_codes(subject, "dec_codes")[:1, :, :2])


@torch.inference_mode()
def dec_partial_select_1(subject: Subject) -> Tensor:
    return _stage1(subject).decode_one(_codes(subject, "dec_codes")[:1], 1)


def losses(subject: Subject) -> Iterator[Result]:
    """The training losses of both stages, some of them one per depth."""
    wanted: dict[str, float | list[float]] = subject.recorded.fact("loss")
    with torch.inference_mode():
        found = {**_stage2_losses(subject), **_stage1_losses(subject)}
    for name, value in wanted.items():
        values = value if isinstance(value, list) else [value]
        pairs = zip_longest(values, found.get(name, []), fillvalue=math.inf)
        yield Result(f"loss.{name}", max(abs(a - b) for a, b in pairs), _LOSS)


def _stage2_losses(subject: Subject) -> dict[str, list[float]]:
    """Of image 0 and the first recorded prompt."""
    codes, prefix = _encoded(subject)[:1], subject.prefixes("tf_cond")[:1]
    logits, text = _stage2(subject)(prefix, codes)
    soft = soft_cross_entropy(logits, _targets(subject))
    image = float(soft.mean())
    found = {
        "img_soft": [image],
        "img_hard": [float(hard_cross_entropy(logits, codes).mean())],
        "per_depth_soft": soft.mean((0, 1)).tolist(),
    }
    if text is not None:
        of_text = float(text_cross_entropy(text, prefix))
        total = (1 - _TEXT_SHARE) * image + _TEXT_SHARE * of_text
        found |= {"cond": [of_text], "total_0.9img_0.1txt": [total]}
    return found


def _stage1_losses(subject: Subject) -> dict[str, list[float]]:
    """Of all images."""
    stage1, images = _stage1(subject), subject.recorded.tensor("enc_images")
    codes = _encoded(subject)
    reconstruction = float(stage1.reconstruction_loss(stage1.decode(codes), images))
    vectors, sums = stage1.fold(stage1.features(images)), stage1.quantizer.vectors(codes).cumsum(2)
    commitment = float(commitment_loss(vectors, sums))
    return {
        "vae_recon_loss": [reconstruction],
        "vae_commitment_loss": [commitment],
        "vae_loss_total": [reconstruction + stage1.config.latent_loss_weight * commitment],
    }


def _stage1(subject: Subject) -> RQVAE:
    if not isinstance(subject.stage1, RQVAE):
        raise AbsentError("an RQ-VAE")
    return subject.stage1


def _stage2(subject: Subject) -> RQTransformer:
    if not isinstance(subject.stage2, RQTransformer):
        raise AbsentError("an RQ-Transformer")
    return subject.stage2


@torch.inference_mode()
def _teacher_forced(subject: Subject) -> tuple[Tensor, Tensor | None]:
    codes = _codes(subject, "tf_codes")
    return _stage2(subject).forward(subject.prefixes("tf_cond").expand(len(codes), -1), codes)


@torch.inference_mode()
def _encoded(subject: Subject) -> Tensor:
    """Codes of the recorded images as they are, without a way through pixels in 0..1."""
    stage1 = _stage1(subject)
    vectors = stage1.fold(stage1.features(subject.recorded.tensor("enc_images")))
    codes: Tensor = stage1.quantizer(vectors)
    return codes


@torch.inference_mode()
def _targets(subject: Subject) -> list[Tensor]:
    """Soft targets of image 0, per depth [1, T, V]."""
    stage1, images = _stage1(subject), subject.recorded.tensor("enc_images")
    return stage1.quantizer.soft(stage1.fold(stage1.features(images[:1])), _TAU)[0]


def _codes(subject: Subject, name: str) -> Tensor:
    return subject.recorded.tensor(name).flatten(1, 2)


def _like(subject: Subject, name: str, tensor: Tensor) -> Tensor:
    """In the recorded array's own shape, where it has as many numbers."""
    wanted = torch.Size(subject.recorded.arrays[name].shape)
    return tensor.view(wanted) if tensor.numel() == wanted.numel() else tensor


CHECKS = {
    "rq/tf_logits": Check(tf_logits),
    "tf_cond_logits": Check(tf_cond_logits),
    "rq/cached_logits": Check(cached_logits),
    "rq/greedy_codes": Check(greedy_codes, tie=Tie("greedy_margin", 2 * LOGITS, excuses="row")),
    "rq/e2e_pixels": Check(e2e_pixels),
    "rq/enc_prequant": Check(enc_prequant),
    "rq/enc_codes": Check(enc_codes, tie=Tie("enc_margin", 1e-4, excuses="depths")),
    "enc_quant_cumulative": Check(enc_quant_cumulative),
    "rq/enc_recon_raw": Check(enc_recon_raw),
    "soft_codes_temp05": Check(soft_codes_temp05, 1e-5),
    "rq/dec_raw": Check(dec_raw),
    "rq/dec_pixels": Check(dec_pixels),
    "dec_code_embeddings": Check(dec_code_embeddings),
    "dec_partial_add_1": Check(dec_partial_add_1),
    "dec_partial_select_1": Check(dec_partial_select_1),
}
INPUTS = {"tf_cond", "greedy_cond"}
FACTS: tuple[Facts, ...] = (losses,)
