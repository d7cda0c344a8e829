"""Encode a data set by stage 1, for stage 2 to train on: `python -m models.train codes`."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from models.configs.codec import CodecConfig
from models.errors import ConfigError
from models.families import as_codec
from models.flags import count, count_or_none
from models.train import options, shapes
from models.train.data import code_table, sources
from models.train.data.data_set import DataSet, Ordered, Variant, rendered
from models.train.data.emoji.emoji_set import Selection
from models.train.loop import processes
from models.train.loop.engine import Engine
from models.train.recipes.codec import Encoder
from models.train.recipes.register import codec_recipe
from models.train.start import codec_of, codec_shape_of

_BATCH, _FEW = 64, 16


@torch.inference_mode()
def encode(
    model: nn.Module, data: DataSet, variants: Sequence[Variant], *, is_soft: bool
) -> tuple[Tensor, Tensor | None]:
    """Codes [n, T, D] of variants, and where they are wanted the features [n, C, h, w] behind."""
    images = rendered(data, variants).to(next(model.parameters()).device)
    codes = as_codec(model).encode(images * 0.5 + 0.5).cpu()
    if not is_soft:
        return codes, None
    assert isinstance(model, Encoder)
    return codes, model.features(images).cpu()


def encode_all(
    model: nn.Module, data: DataSet, variants: Sequence[Variant], *, is_soft: bool
) -> tuple[Tensor, Tensor | None]:
    """The same of any number of variants, a few at a time."""
    starts = range(0, len(variants), _FEW)
    parts = [encode(model, data, variants[at : at + _FEW], is_soft=is_soft) for at in starts]
    features = [features for _, features in parts if features is not None]
    return torch.cat([codes for codes, _ in parts]), torch.cat(features) if features else None


def _extent(args: Namespace, shape: CodecConfig) -> tuple[int, int, int] | None:
    """Of the features to keep, if any."""
    recipe = codec_recipe(shape)
    is_soft = recipe.is_soft if args.soft is None else args.soft
    return recipe.features(shape) if recipe.features and is_soft else None


@processes.alone_in("out")
def _work(args: Namespace) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if not (args.stage1 or args.checkpoint):
        raise ConfigError("whose codes? give --stage1 or --init")
    shape = codec_shape_of(args.checkpoint, args.stage1)
    selection = Selection(
        styles=tuple(args.styles),
        varied=tuple(args.varied),
        stand_ins=tuple(args.stand_ins),
        num_scenes=args.scenes,
    )
    data = sources.opened(args, shape.size[0], selection)
    variants = data.variants()
    if processes.is_first():
        known_by = data.fingerprint() if isinstance(data, Ordered) else None
        extent = _extent(args, shape)
        code_table.reserve(args.out, variants, shape.code_shape, extent, pictures=known_by)
        shapes.save(args.out, shape)
    processes.wait()
    _encode_share(args, shape, data, variants)
    broken = processes.all_of(data.broken if isinstance(data, Ordered) else set())
    if processes.is_first():
        code_table.note_broken(args.out, broken)
        print(f"{len(variants)} variants in {args.out}, {len(broken)} pictures are broken")


def _encode_share(
    args: Namespace, shape: CodecConfig, data: DataSet, variants: tuple[Variant, ...]
) -> None:
    """The part of this process, of as many equal ones as there are."""
    device = Engine.usual_device()
    model = codec_of(args.checkpoint, args.stage1)
    assert model is not None
    model.to(device)
    number, count = processes.place()
    share = -(-len(variants) // count)
    is_soft = _extent(args, shape) is not None
    mine = range(number * share, min((number + 1) * share, len(variants)))
    for first in mine[::_BATCH]:
        part = variants[first : min(first + _BATCH, mine.stop)]
        code_table.fill(args.out, first, *encode(model, data, part, is_soft=is_soft))


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = options.parser_of("codes", "Encode a data set by stage 1.")
    parser.add_argument("--stage1", type=Path, help="a stage-1 run")
    options.add_init(parser, "a model; its stage 1, if no run is given")
    sources.add_arguments(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/codes"),
        help="the table's folder (default: %(default)s)",
    )
    parser.add_argument("--styles", nargs="*", default=(), help="only these art styles")
    parser.add_argument("--varied", nargs="*", default=(), help="vary only these art styles")
    parser.add_argument(
        "--stand-ins",
        nargs="*",
        default=(),
        metavar="STYLE",
        help="and a thing that has none of them in the first of these",
    )
    parser.add_argument(
        "--scenes",
        type=count_or_none,
        default=Selection().num_scenes,
        metavar="N",
        help="with --data scenes: as many drawn, besides plain things (default: %(default)s)",
    )
    parser.add_argument("--workers", type=count, default=2, help="processes here (or use torchrun)")
    parser.add_argument(
        "--soft",
        action=argparse.BooleanOptionalAction,
        help="keep what soft targets are made of (default: as the family's recipe)",
    )
    processes.run(_work, parser, "codes", argv)


if __name__ == "__main__":
    main()
