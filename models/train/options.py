"""What every training command has: its options, the process that they ask for, its steps."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import torch

from models.train.data import sources
from models.train.loop.learner import Learner
from models.train.loop.precision import PRECISIONS
from models.train.loop.run import Run


def arguments(description: str, folder: str, steps: int) -> argparse.ArgumentParser:
    """A parser with the common options."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--run", type=Path, default=Path(folder), help="where the run lives")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--until", type=int, help="stop early; the schedule still spans --steps")
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--resume", action="store_true", help="go on from the run's state.pt")
    sources.add_arguments(parser)
    return parser


def add_stage(parser: argparse.ArgumentParser, families: Iterable[str]) -> None:
    """The options that both stages have besides: what is trained, from where, how fast."""
    parser.add_argument("--family", choices=tuple(families), help="what to train")
    parser.add_argument(
        "--shape", nargs="*", default=(), help="other sizes, such as ch=32 n_embed=[512,512]"
    )
    add_init(parser, "fine-tune this model: a converted or an official folder")
    parser.add_argument("--start", type=Path, help="begin with another run's averaged weights")
    parser.add_argument("--rate", type=float, default=1.0, help="times the recipe's learning rate")
    parser.add_argument("--workers", type=int, default=1, help="processes that share a batch")
    parser.add_argument(
        "--precision",
        choices=tuple(PRECISIONS),
        default="float32",
        help="what the model computes in; bfloat16 where the processor is fast at it",
    )


def add_init(parser: argparse.ArgumentParser, about: str) -> None:
    """The option that names a checkpoint's folder, `about` what it is for."""
    parser.add_argument(
        "--init", "--checkpoint", dest="checkpoint", type=Path, metavar="DIR", help=about
    )


def prepare(args: argparse.Namespace) -> None:
    """Set this process up as the options say; workers that do so begin with the same weights."""
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(args.seed)


def steps_to_do(args: argparse.Namespace, run: Run, learner: Learner) -> range:
    """The steps of this call, the learner brought to where they begin."""
    if args.resume and (state := run.load()) is not None:
        learner.restore(state)
    return range(learner.next_step, min(args.steps, args.until or args.steps))
