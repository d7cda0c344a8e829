"""What every training command has: its options, the process that they ask for, its steps."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.train.data import sources
from models.train.data.data_set import DataSet, batch_at, rendered
from models.train.loop import checkpoints
from models.train.loop import run as loop
from models.train.loop.checkpoints import Checkpoints
from models.train.loop.engine import Engine
from models.train.loop.learner import Learner, naming
from models.train.loop.pace import Pace
from models.train.loop.pictures import tensorboard
from models.train.loop.precision import PRECISIONS
from models.train.loop.processes import is_first, my_share
from models.train.loop.run import Chore, Run


def arguments(description: str, folder: str, steps: int) -> argparse.ArgumentParser:
    """A parser with the common options."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--run", type=Path, default=Path(folder), help="where the run lives")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--until", type=int, help="stop early; the schedule still spans --steps")
    parser.add_argument("--save-every", type=_count, default=100)
    parser.add_argument(
        "--keep", type=_count, default=2, metavar="N", help="the last N checkpoints"
    )
    parser.add_argument("--batch", type=int, default=32, help="pictures of all processes together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--tensorboard", action="store_true", help="the log also in RUN/tensorboard"
    )
    parser.add_argument(
        "--peak-tflops", type=float, default=0.0, help="of a device: log what share is used (mfu)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    sources.add_arguments(parser)
    return parser


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def add_stage(parser: argparse.ArgumentParser, families: Iterable[str]) -> None:
    """The options that both stages have besides: what is trained, from where, how fast."""
    parser.add_argument("--family", choices=tuple(families), help="what to train")
    parser.add_argument(
        "--shape", nargs="*", default=(), help="other sizes, such as ch=32 n_embed=[512,512]"
    )
    add_init(parser, "fine-tune this model: a converted or an official folder")
    parser.add_argument("--start", type=Path, help="begin with another run's averaged weights")
    parser.add_argument("--rate", type=float, default=1.0, help="times the recipe's learning rate")


def add_init(parser: argparse.ArgumentParser, about: str) -> None:
    """The option that names a checkpoint's folder, `about` what it is for."""
    parser.add_argument(
        "--init", "--checkpoint", dest="checkpoint", type=Path, metavar="DIR", help=about
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """The options that say how many processes there are, and how each computes."""
    parser.add_argument(
        "--workers", type=int, default=1, help="start so many processes here (or use torchrun)"
    )
    parser.add_argument(
        "--precision",
        choices=tuple(PRECISIONS),
        default="float32",
        help="what the model computes in; bfloat16 where the processor is fast at it",
    )
    parser.set_defaults(fsdp=False, recompute=False, compile=False)


def add_large(parser: argparse.ArgumentParser) -> None:
    """The options for models that hardly fit, whose blocks are transformers'."""
    parser.add_argument(
        "--fsdp", action="store_true", help="each process keeps a share of weights and optimisers"
    )
    parser.add_argument(
        "--recompute", action="store_true", help="less memory: activations are computed again"
    )
    parser.add_argument("--compile", action="store_true", help="blocks by torch.compile")


def prepare(args: argparse.Namespace) -> None:
    """Set this process up as the options say; workers that do so begin with the same weights."""
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(args.seed)


def engine_of(args: argparse.Namespace) -> Engine:
    """How the options of `add_engine` say that a model computes."""
    return Engine(
        Engine.usual_device(),
        PRECISIONS[args.precision],
        shards=args.fsdp,
        checkpoints=args.recompute,
        compiles=args.compile,
    )


def on_pictures(
    args: argparse.Namespace,
    run: Run,
    data: DataSet,
    learn: Callable[[int, Tensor], dict[str, float]],
) -> Callable[[int], dict[str, float]]:
    """The step that learns from this process's images [B, 3, H, W] in [-1, 1] of a batch."""

    def step_once(step: int) -> dict[str, float]:
        batch = batch_at(data, step, args.batch, run.rng(step), args.seed)
        with naming(lambda: map(data.title, batch)):
            return learn(step, rendered(data, batch[my_share(args.batch)]))

    return step_once


def train(
    args: argparse.Namespace,
    run: Run,
    learner: Learner,
    step_once: Callable[[int], dict[str, float]],
    chores: Sequence[Chore],
) -> None:
    """Take the steps of this call, after the last checkpoint if it is a run resumed."""
    last = checkpoints.latest(args.run) if args.resume else None
    if last is not None:
        learner.restore(checkpoints.load(last, learner.weights_by_place()))
    steps = range(learner.next_step, min(args.steps, args.until or args.steps))
    saved = Checkpoints(args.run, args.save_every, args.keep)
    pace = Pace(args.batch, args.peak_tflops * 1e12)
    if args.tensorboard and is_first():
        run.mirrors.append(tensorboard(run.folder))
    loop.train(run, steps, step_once, learner, saved, pace, every=chores)
