"""`mindalle verify DIR --expected DIR`: does a checkpoint compute what was recorded.

Without a checkpoint, for sets of definitions: do the formulas here give the same.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from models.verify import compare as verify


def add_arguments(parser: ArgumentParser) -> None:
    """Two folders."""
    parser.add_argument(
        "checkpoint",
        type=Path,
        nargs="?",
        metavar="DIR",
        help="the checkpoint's folder; left out for a set that needs none (default: none)",
    )
    parser.add_argument(
        "--expected", type=Path, required=True, metavar="DIR", help="holds expected.npz"
    )


def run(args: Namespace) -> int:
    """Print the report; 1 when an array misses its tolerance."""
    return 0 if verify.run(args.checkpoint, args.expected) else 1
