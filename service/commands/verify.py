"""`mindalle verify [DIR] --expected DIR`: does a checkpoint compute what was recorded."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from models.verify import compare as verify


def add_arguments(parser: ArgumentParser) -> None:
    """Two folders; numbers that follow from a definition alone need no checkpoint."""
    parser.add_argument(
        "checkpoint",
        type=Path,
        nargs="?",
        metavar="DIR",
        help="the checkpoint's folder; without one, only numbers that need none are checked",
    )
    parser.add_argument(
        "--expected", type=Path, required=True, metavar="DIR", help="holds expected.npz"
    )


def run(args: Namespace) -> int:
    """Print the report; 1 when an array misses its tolerance."""
    return 0 if verify.run(args.checkpoint, args.expected) else 1
