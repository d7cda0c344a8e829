"""Encode a data set by stage 1, for stage 2 to train on: `python -m models.train.codes`."""

from __future__ import annotations

import argparse
from argparse import Namespace
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.stage1.vqgan import VQGAN
from models.train.data import code_table, sources
from models.train.data.data_set import DataSet, Variant
from models.train.data.emoji.emoji_set import Selection
from models.train.start import preset_of, stage1_of

_BATCH = 64


@torch.inference_mode()
def encode(model: VQGAN, data: DataSet, variants: tuple[Variant, ...]) -> Tensor:
    """Codes [M, T] of variants."""
    parts = []
    for start in range(0, len(variants), _BATCH):
        images = torch.stack([data.render(v) for v in variants[start : start + _BATCH]])
        parts.append(model.encode_images(images).flatten(1))
    return torch.cat(parts)


def _encode_part(args: Namespace, variants: tuple[Variant, ...]) -> NDArray[Any]:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    model = stage1_of(args.checkpoint, args.stage1).eval()
    data = sources.open_data(args.data, args.art, model.config.resolution)
    codes: NDArray[Any] = encode(model, data, variants).to(torch.int32).numpy()
    return codes


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Encode a data set by stage 1.")
    parser.add_argument("--stage1", type=Path, help="a stage-1 run")
    parser.add_argument("--checkpoint", type=Path, help="a model; its stage 1, if no run is given")
    sources.add_arguments(parser)
    parser.add_argument("--out", type=Path, default=Path("runs/codes"))
    parser.add_argument("--styles", nargs="*", default=(), help="only these art styles")
    parser.add_argument("--varied", nargs="*", default=(), help="vary only these art styles")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(argv)
    size, _ = preset_of(args.checkpoint).size
    selection = Selection(styles=tuple(args.styles), varied=tuple(args.varied))
    variants = sources.open_data(args.data, args.art, size, selection).variants()
    share = -(-len(variants) // args.workers)
    parts = [variants[start : start + share] for start in range(0, len(variants), share)]
    with ProcessPoolExecutor(args.workers) as pool:
        codes = list(pool.map(_encode_part, repeat(args), parts))
    code_table.save(args.out, variants, np.concatenate(codes))
    print(f"{len(variants)} variants in {args.out}")


if __name__ == "__main__":
    main()
