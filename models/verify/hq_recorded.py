"""What was recorded of the HQ family, in the order of its own codes.

A level's recorded codes and logits are in raster order over its whole grid; the model's are cells,
one after the other. Knows which of a subject's stages are the family's, no array of results.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.stage1.hq_vae import HQVAE, Quantised, to_cells, to_grids
from models.stage2.hq_transformer import HQTransformer
from models.verify.recorded import AbsentError
from models.verify.subject import Subject

NAMES = ("top", "mid", "bot")  # of levels; two have no middle


def stage1_of(subject: Subject) -> HQVAE:
    if not isinstance(subject.stage1, HQVAE):
        raise AbsentError("an HQ-VAE")
    return subject.stage1


def stage2_of(subject: Subject) -> HQTransformer:
    if not isinstance(subject.stage2, HQTransformer):
        raise AbsentError("an HQ-Transformer")
    return subject.stage2


def level_of(subject: Subject, name: str) -> int:
    return levels(subject).index(name)


def levels(subject: Subject) -> tuple[str, ...]:
    return NAMES if len(stage1_of(subject).config.n_embed) > 2 else (NAMES[0], NAMES[-1])


def conditions(subject: Subject) -> Tensor:
    is_text = subject.preset.prompt_kind == "text"
    return subject.prefixes("tf_tokens" if is_text else "tf_labels")


def quantised(subject: Subject) -> list[Quantised]:
    """Of the recorded images as they are, without a way through pixels in 0..1."""
    stage1 = stage1_of(subject)
    with torch.no_grad():
        return stage1.quantise(stage1.features(subject.recorded.tensor("enc_images")))


def grids(subject: Subject, array: str) -> list[Tensor]:
    """Recorded codes of all levels, [B, h, w] each."""
    sides = stage1_of(subject).config.sides
    codes = [subject.recorded.tensor(f"{array}_{name}") for name in levels(subject)]
    return [grid.view(-1, side, side) for grid, side in zip(codes, sides, strict=True)]


def cells(subject: Subject, array: str) -> Tensor:
    return to_cells(grids(subject, array))


def grid_of(subject: Subject, name: str, cells: Tensor) -> Tensor:
    """Codes [B, T, D] → one level's [B, h, w]."""
    return to_grids(cells, stage1_of(subject).config.sides)[level_of(subject, name)]


def _orders(subject: Subject) -> list[Tensor]:
    """Where in a level's cells, one after the other, the positions of its raster are: [h·w]."""
    config = stage1_of(subject).config
    steps, counts = config.code_shape[0], config.codes_per_level
    grids = []
    for level, count in enumerate(counts):
        numbers = torch.zeros(1, steps, sum(counts), dtype=torch.int64)
        start = sum(counts[:level])
        numbers[0, :, start : start + count] = torch.arange(steps * count).view(steps, count)
        grids.append(to_grids(numbers, config.sides)[level].flatten())
    return grids


def in_raster(subject: Subject, name: str, logits: Tensor) -> Tensor:
    """Logits [B, T, D, V] → one level's, in raster order over its grid [B, h·w, V_i]."""
    level, config = level_of(subject, name), stage2_of(subject).config
    start = sum(config.codes_per_level[:level])
    own = logits[:, :, start : start + config.codes_per_level[level], : config.sizes[level]]
    return own.flatten(1, 2)[:, _orders(subject)[level]]


def soft_codes(subject: Subject, num_images: int, temperature: float | None = None) -> list[Tensor]:
    images = subject.recorded.tensor("enc_images")[:num_images]
    tau: float = temperature or subject.recorded.fact("temp_soft_labels")
    with torch.no_grad():
        return stage1_of(subject).soft_codes(images, tau)


def by_depth(subject: Subject, soft: list[Tensor]) -> list[Tensor]:
    """Each level's [B, h, w, V] → [B, T, V] of each of a cell's codes."""
    steps = stage1_of(subject).code_shape[0]
    out: list[Tensor] = []
    for level, order in zip(soft, _orders(subject), strict=True):
        in_cells = level.flatten(1, 2)[:, order.argsort()]  # [B, T·n, V]
        out += in_cells.unflatten(1, (steps, -1)).unbind(2)  # type: ignore[no-untyped-call]  # torch has no types here
    return out
