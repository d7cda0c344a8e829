"""`mindalle convert DIR`: a checkpoint in any layout into our safetensors folder, once."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from models.files.convert import convert
from models.pipeline import DTYPES


def add_arguments(parser: ArgumentParser) -> None:
    """From where, to where, in which number type."""
    parser.add_argument("source", type=Path, metavar="DIR", help="the checkpoint's folder")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="new folder (default: DIR-converted beside it)",
    )
    parser.add_argument(
        "--dtype", choices=sorted(DTYPES), help="number type of the stored weights (default: same)"
    )
    parser.add_argument(
        "--tokenizer", type=Path, help="folder of the tokenizer's files (default: DIR/tokenizer)"
    )
    parser.add_argument(
        "--averaged", action="store_true", help="the weights' moving average (RQ's state_dict_ema)"
    )


def run(args: Namespace) -> None:
    """Convert, saying each step."""
    source: Path = args.source.resolve()
    target: Path = args.output or source.with_name(f"{source.name}-converted")
    dtype = None if args.dtype is None else DTYPES[args.dtype]
    options = {"tokenizer": args.tokenizer, "averaged": args.averaged}
    convert(args.source, target, dtype, _say, **options)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
