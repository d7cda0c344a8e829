"""Arrays of stage 1, computed again. Each function's name is the array's."""

from __future__ import annotations

import torch
from torch import Tensor

from models.verify.check import PIXELS, Check, Tie
from models.verify.subject import Subject


@torch.inference_mode()
def dec_raw(subject: Subject) -> Tensor:
    return subject.raw.decode(subject.recorded.tensor("dec_codes"))


@torch.inference_mode()
def dec_pixels(subject: Subject) -> Tensor:
    codes = subject.recorded.tensor("dec_codes")
    return subject.codec.pixels(codes.view(len(codes), *subject.codec.code_shape))


@torch.inference_mode()
def enc_prequant(subject: Subject) -> Tensor:
    return subject.raw.features(subject.recorded.tensor("enc_images"))


def enc_codes(subject: Subject) -> Tensor:
    return subject.encoded.view_as(subject.recorded.tensor("enc_codes"))


@torch.inference_mode()
def enc_recon_raw(subject: Subject) -> Tensor:
    return subject.raw.decode(enc_codes(subject))


CHECKS = {
    "dec_raw": Check(dec_raw, ("dec_codes",), PIXELS),
    "dec_pixels": Check(dec_pixels, ("dec_codes",), PIXELS),
    "enc_prequant": Check(enc_prequant, ("enc_images",)),
    "enc_codes": Check(enc_codes, ("enc_images",), tie=Tie("enc_margin", 1e-4)),
    "enc_recon_raw": Check(enc_recon_raw, ("enc_images",), PIXELS),
}
