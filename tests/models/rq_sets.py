"""The RQ family's recorded sets: models filled from the official files, and the arrays beside them.

rq_uncond_variants is whole. rq_text is shortened: of stage 1 only the codebook, of `tf_logits` only
the first four rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from models.configs.rq import RQTransformerConfig, RQVAEConfig
from models.files.official import OfficialWeights
from models.files.rq_config import read_rq_transformer, read_rq_vae
from models.files.weights import fill, on_meta
from models.stage1.rq_vae import RQVAE, ResidualQuantizer
from models.stage2.rq_transformer import RQTransformer
from tests.models.golden import GOLDEN, arrays

RQ_SETS = ("rq_text", "rq_uncond_variants")


def configs(name: str) -> tuple[RQVAEConfig, RQTransformerConfig]:
    first, second = (_document(GOLDEN / name / stage) for stage in ("stage1", "stage2"))
    stage1 = read_rq_vae(first["arch"], "stage1")
    return stage1, read_rq_transformer(second["arch"], "stage2", stage1)


def _document(folder: Path) -> Any:
    return yaml.safe_load((folder / "config.yaml").read_text())


def stage1_of(name: str) -> RQVAE:
    config = configs(name)[0]
    model = on_meta(lambda: RQVAE(config))
    fill(
        model,
        OfficialWeights(GOLDEN / name / "stage1" / "model.pt", "", config),
        "cpu",
        torch.float32,
    )
    return model


def quantizer_of(name: str) -> ResidualQuantizer:
    config = configs(name)[0]
    state = torch.load(GOLDEN / name / "stage1" / "model.pt", weights_only=True)["state_dict"]
    quantizer = ResidualQuantizer(config).requires_grad_(False)
    for depth, book in enumerate(quantizer.codebooks.parameters()):
        book.copy_(state[f"quantizer.codebooks.{depth}.weight"])
    return quantizer


def stage2_of(name: str) -> RQTransformer:
    config = configs(name)[1]
    model = on_meta(lambda: RQTransformer(config))
    fill(
        model,
        OfficialWeights(GOLDEN / name / "stage2" / "model.pt", "", config),
        "cpu",
        torch.float32,
    )
    model.share(quantizer_of(name).vector)
    return model


def recorded(name: str) -> dict[str, Tensor]:
    """Arrays; integers as int64, codes as [B, T, D]."""
    out = {}
    for key, array in arrays(name).items():
        tensor = torch.from_numpy(array)
        tensor = tensor if tensor.is_floating_point() else tensor.long()
        out[key] = tensor.flatten(1, 2) if key.endswith("_codes") else tensor
    return out
