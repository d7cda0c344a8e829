"""Encode a data set by stage 1, for stage 2 to train on: `python -m models.train codes`."""

from __future__ import annotations

import argparse
from argparse import Namespace
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import torch
from torch import Tensor, nn

from models.configs import CodecConfig
from models.errors import ConfigError
from models.families import as_codec
from models.train import shapes
from models.train.data import code_table, sources
from models.train.data.data_set import DataSet, Variant
from models.train.data.emoji.emoji_set import Selection
from models.train.options import add_init
from models.train.recipes.codec import Encoder
from models.train.recipes.register import codec_recipe
from models.train.start import codec_of, codec_shape_of

_BATCH = 64


@torch.inference_mode()
def encode(
    model: nn.Module, data: DataSet, variants: tuple[Variant, ...], *, is_soft: bool
) -> tuple[Tensor, Tensor | None]:
    """Codes [n, T, D] of variants, and where they are wanted the features [n, C, h, w] behind."""
    images = torch.stack([data.render(variant) for variant in variants])
    codes = as_codec(model).encode(images * 0.5 + 0.5)
    if not is_soft:
        return codes, None
    assert isinstance(model, Encoder)
    return codes, model.features(images)


def _extent(args: Namespace, shape: CodecConfig) -> tuple[int, int, int] | None:
    """Of the features to keep, if any."""
    recipe = codec_recipe(shape)
    is_soft = recipe.is_soft if args.soft is None else args.soft
    return recipe.features(shape) if recipe.features and is_soft else None


def _encode_part(args: Namespace, start: int, variants: tuple[Variant, ...]) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    model = codec_of(args.checkpoint, args.stage1)
    assert model is not None
    shape = codec_shape_of(args.checkpoint, args.stage1)
    data = sources.open_data(args.data, args.art, shape.size[0])
    for first in range(0, len(variants), _BATCH):
        part = variants[first : first + _BATCH]
        found = encode(model, data, part, is_soft=_extent(args, shape) is not None)
        code_table.fill(args.out, start + first, *found)


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Encode a data set by stage 1.")
    parser.add_argument("--stage1", type=Path, help="a stage-1 run")
    add_init(parser, "a model; its stage 1, if no run is given")
    sources.add_arguments(parser)
    parser.add_argument("--out", type=Path, default=Path("runs/codes"))
    parser.add_argument("--styles", nargs="*", default=(), help="only these art styles")
    parser.add_argument("--varied", nargs="*", default=(), help="vary only these art styles")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--soft",
        action=argparse.BooleanOptionalAction,
        help="keep what soft targets are made of (default: as the family's recipe)",
    )
    args = parser.parse_args(argv)
    if not (args.stage1 or args.checkpoint):
        raise ConfigError("whose codes? give --stage1 or --init")
    shape = codec_shape_of(args.checkpoint, args.stage1)
    selection = Selection(styles=tuple(args.styles), varied=tuple(args.varied))
    variants = sources.open_data(args.data, args.art, shape.size[0], selection).variants()
    code_table.reserve(args.out, variants, shape.code_shape, _extent(args, shape))
    shapes.save(args.out, shape)
    share = -(-len(variants) // args.workers)
    starts = range(0, len(variants), share)
    parts = [variants[start : start + share] for start in starts]
    with ProcessPoolExecutor(args.workers) as pool:
        list(pool.map(_encode_part, repeat(args), starts, parts))
    print(f"{len(variants)} variants in {args.out}")


if __name__ == "__main__":
    main()
