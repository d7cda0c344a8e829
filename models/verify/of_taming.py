"""Arrays and losses of VQ-GAN's own models, computed again. Each function's name is the array's.

Recorded codes are grids in raster order where a codec makes or takes them, and in the order in
which they are drawn everywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from models.stage1.vqgan import VQGAN, GumbelQuantizer
from models.stage2.transformer import Transformer
from models.verify.check import Check, Facts, Result, Tie
from models.verify.recorded import AbsentError
from models.verify.subject import Subject
from models.verify.walk import walk

_LOSS = 1e-3
_COMMITMENT = 0.25  # the share of the commitment in the reference's loss
_GREEDY = "greedy_labels"


@torch.inference_mode()
def enc_codes(subject: Subject) -> Tensor:
    return _stage1(subject).encode_images(subject.recorded.tensor("enc_images"))


def permuted_enc_codes(subject: Subject) -> Tensor:
    return subject.encoded.flatten(1)


@torch.inference_mode()
def enc_recon_raw(subject: Subject) -> Tensor:
    return _stage1(subject).decode(enc_codes(subject))


@torch.inference_mode()
def dec_pixels(subject: Subject) -> Tensor:
    raw = _stage1(subject).decode(subject.recorded.tensor("dec_codes"))
    return (raw * 0.5 + 0.5).clamp(0, 1)


@torch.inference_mode()
def completed_codes(subject: Subject) -> Tensor:
    """Of the first row: half of its codes are given, the others are the most probable ones."""
    given = subject.recorded.tensor("tf_codes")[0]
    codes: list[Tensor] = []

    def choose(step: int, logits: Tensor, _depth: int) -> Tensor:
        is_given = step < len(given) // 2
        codes.append(given[step : step + 1] if is_given else logits.argmax(-1))
        return codes[-1]

    walk(subject.prior, subject.prefixes("tf_labels")[0], choose)
    return torch.cat(codes)[None]


@torch.inference_mode()
def e2e_pixels(subject: Subject) -> Tensor:
    return subject.codec.pixels(subject.draw_greedily(subject.prefixes(_GREEDY)[:1]))


def e2e_u8(subject: Subject) -> Tensor:
    return (e2e_pixels(subject) * 255).to(torch.uint8).permute(0, 2, 3, 1)


@torch.inference_mode()
def enc_logits(subject: Subject) -> Tensor:
    stage1 = _stage1(subject)
    features = stage1.features(subject.recorded.tensor("enc_images"))
    logits: Tensor = _gumbel(stage1).proj(features)
    return logits


def enc_sampled_codes(subject: Subject) -> Tensor:
    """With the noise that the reference drew."""
    noise = subject.recorded.tensor("enc_gumbel_noise")
    return (enc_logits(subject) + noise).argmax(1)


@torch.inference_mode()
def enc_sampled_recon_raw(subject: Subject) -> Tensor:
    return _stage1(subject).decode(enc_sampled_codes(subject))


def whole_picture(subject: Subject) -> Iterator[Result]:
    """The tokens that stand for the coordinates of a whole picture, the first row's condition."""
    wanted = subject.recorded.tensor("cond_codes")[0].tolist()
    found = _stage2(subject).config.start
    wrong = sum(a != b for a, b in zip(wanted, found, strict=False))
    yield Result("coordinates", wrong + abs(len(wanted) - len(found)), 0)


@torch.inference_mode()
def pkeep_loss(subject: Subject) -> Iterator[Result]:
    """Of the training images where some of the codes that are fed were replaced."""
    wanted, fed = subject.recorded.fact("pkeep_loss"), subject.recorded.tensor("pkeep_inputs")
    codes = subject.encoded.flatten(1)
    inputs = torch.cat((fed, codes[:, -1:]), 1)
    logits, _ = _stage2(subject)(subject.prefixes("train_labels"), inputs)
    loss = F.cross_entropy(logits.flatten(0, 1), codes.flatten())
    yield Result("pkeep_loss", abs(float(loss) - wanted), _LOSS)


@torch.inference_mode()
def vq_loss(subject: Subject) -> Iterator[Result]:
    """What stage 1 adds to its training loss, the same by both of the reference's rules."""
    wanted = subject.recorded.fact("vq_loss", "legacy", "value")
    stage1 = _stage1(subject)
    features = stage1.features(subject.recorded.tensor("enc_images"))
    distance = F.mse_loss(stage1.quantize.lookup(stage1.quantize(features)), features)
    yield Result("vq_loss", abs((1 + _COMMITMENT) * float(distance) - wanted), _LOSS)


@torch.inference_mode()
def kl_loss(subject: Subject) -> Iterator[Result]:
    """How far the codes' probabilities are from even ones, in the weight that training gave it."""
    wanted, weight = (subject.recorded.fact(name) for name in ("kl_loss", "kl_weight"))
    shares = enc_logits(subject).softmax(1)
    divergence = (shares * (shares * shares.shape[1] + 1e-10).log()).sum(1).mean()
    yield Result("kl_loss", abs(weight * float(divergence) - wanted), _LOSS * wanted)


def _stage1(subject: Subject) -> VQGAN:
    if not isinstance(subject.stage1, VQGAN):
        raise AbsentError("a VQGAN")
    return subject.stage1


def _gumbel(stage1: VQGAN) -> GumbelQuantizer:
    if not isinstance(stage1.quantize, GumbelQuantizer):
        raise AbsentError("a codebook with logits")
    return stage1.quantize


def _stage2(subject: Subject) -> Transformer:
    if not isinstance(subject.stage2, Transformer):
        raise AbsentError("a transformer")
    return subject.stage2


CHECKS = {
    "permuted_enc_codes": Check(permuted_enc_codes),
    "completed_codes": Check(completed_codes),
    "e2e_u8": Check(e2e_u8, 1, are_codes=False),
    "enc_logits": Check(enc_logits),
    "enc_sampled_codes": Check(enc_sampled_codes, tie=Tie("enc_sampled_margin", 1e-4)),
    "enc_sampled_recon_raw": Check(enc_sampled_recon_raw),
    "taming/enc_codes": Check(enc_codes, tie=Tie("enc_margin", 1e-4)),
    "taming/enc_recon_raw": Check(enc_recon_raw),
    "taming/dec_pixels": Check(dec_pixels),
    "taming/e2e_pixels": Check(e2e_pixels),
}
INPUTS = {"coord_map", "cond_codes", "completed_margin", "pkeep_inputs", "enc_gumbel_noise"}
FACTS: tuple[Facts, ...] = (whole_picture, pkeep_loss, vq_loss, kl_loss)
