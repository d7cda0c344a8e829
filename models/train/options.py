"""What every training command has: its options, and the process that they ask for."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from models.configs.codec import CodecConfig
from models.errors import ConfigError
from models.flags import count, count_or_none, positive, seed, share_or_none, threads
from models.train import shapes
from models.train.data import sources
from models.train.data.code_table import CodeTable
from models.train.data.data_set import DataSet
from models.train.loop.engine import Engine
from models.train.loop.precision import PRECISIONS
from models.train.recipes.codec import CodecPlan
from models.train.recipes.prior import PriorPlan

_Plan = TypeVar("_Plan", CodecPlan, PriorPlan)


def parser_of(command: str, description: str) -> argparse.ArgumentParser:
    """A parser that calls the command as people do."""
    return argparse.ArgumentParser(
        prog=f"python -m models.train {command}", description=description
    )


def arguments(command: str, description: str, steps: int) -> argparse.ArgumentParser:
    """One with the common options."""
    parser = parser_of(command, description)
    parser.add_argument(
        "--run", type=Path, default=Path("runs", command), help="where the run lives"
    )
    parser.add_argument(
        "--steps", type=count, default=steps, help=f"updates of the whole run (default: {steps})"
    )
    parser.add_argument("--until", type=count, help="stop early; the schedule still spans --steps")
    parser.add_argument(
        "--save-every",
        type=count,
        default=100,
        metavar="N",
        help="steps between checkpoints (default: %(default)s)",
    )
    parser.add_argument(
        "--keep",
        type=count,
        default=2,
        metavar="N",
        help="the last N checkpoints (default: %(default)s)",
    )
    parser.add_argument(
        "--batch",
        type=count,
        default=32,
        help="pictures of all processes together (default: %(default)s)",
    )
    parser.add_argument(
        "--loaders",
        type=count_or_none,
        default=0,
        metavar="N",
        help="make batches ahead in N processes, so that a GPU needn't wait (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="of all that is drawn at random (default: %(default)s)"
    )
    parser.add_argument(
        "--threads",
        type=threads,
        default=torch.get_num_threads(),
        help="that each process computes with (default: %(default)s)",
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="the log also in RUN/tensorboard"
    )
    parser.add_argument(
        "--peak-tflops",
        type=positive,
        default=0.0,
        help="of a device: log what share is used (mfu)",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    sources.add_arguments(parser)
    return parser


def add_stage(parser: argparse.ArgumentParser, families: Iterable[str]) -> None:
    """The options that both stages have besides: what is trained, from where, how fast."""
    parser.add_argument("--family", choices=tuple(families), help="what to train")
    add_shape(parser, "ch=32 n_embed=[512,512]")
    add_init(parser, "fine-tune this model: a converted or an official folder")
    add_start(parser)
    add_rate(parser)


def add_shape(parser: argparse.ArgumentParser, such_as: str) -> None:
    """The option that gives a model other sizes than its family's."""
    parser.add_argument("--shape", nargs="*", default=(), help=f"other sizes, such as {such_as}")


def add_start(parser: argparse.ArgumentParser) -> None:
    """The options of what may begin with another run's weights, and is judged as it learns."""
    parser.add_argument("--start", type=Path, help="begin with another run's averaged weights")
    add_looks(parser, 200)
    parser.add_argument(
        "--judged",
        type=count_or_none,
        default=96,
        help="pictures of each sort to judge by (default: %(default)s)",
    )


def add_looks(parser: argparse.ArgumentParser, every: int) -> None:
    """The option that says how often a run is judged as it learns."""
    parser.add_argument(
        "--look-every",
        type=count,
        default=every,
        help="steps between judgements (default: %(default)s)",
    )


def add_rate(parser: argparse.ArgumentParser) -> None:
    """The option that makes all learn faster or slower."""
    parser.add_argument(
        "--rate",
        type=positive,
        default=1.0,
        help="times the recipe's learning rate (default: %(default)s)",
    )


def add_shares(parser: argparse.ArgumentParser) -> None:
    """The option that says how often each kind of picture is learnt from."""
    parser.add_argument("--shares", nargs="*", default=(), help="such as plain=0.5 colour=0.5")


def table_of(
    args: argparse.Namespace, data: DataSet, codec: CodecConfig
) -> tuple[CodeTable, Mapping[str, float]]:
    """The table that --codes names, and how much of what is drawn from it is of each kind.

    ConfigError where it has others than codes of `codec`, or none of the kinds that --shares names.
    """
    table, made_by = CodeTable.load(args.codes, data), shapes.load_codec(args.codes)
    if table.codes[..., None].shape[1:3] != codec.code_shape:
        found = tuple(table.codes.shape[1:])
        raise ConfigError(f"--codes: {found} a picture, for a stage 1 of {codec.code_shape}")
    if made_by and made_by.vocab_sizes != codec.vocab_sizes:
        found, known = made_by.vocab_sizes, codec.vocab_sizes
        raise ConfigError(f"--codes: of codebooks of {found}, for a stage 1 of {known}")
    shares = _shares_of(args.shares) or data.shares
    if not any(share > 0 for name, share in shares.items() if table.by_kind.get(name)):
        raise ConfigError(f"--shares: {args.codes} has only {', '.join(table.by_kind)}")
    return table, shares


def _shares_of(pairs: Sequence[str]) -> dict[str, float]:
    """How much of what is drawn is of each kind, as `plain=0.5` says it; else ConfigError."""
    shares: dict[str, float] = {}
    for pair in pairs:
        name, _, share = pair.partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            raise ConfigError(f"--shares: {pair!r} is no kind and its share") from None
        if not 0 <= shares[name] < math.inf:
            raise ConfigError(f"--shares: {pair!r}: must be 0 or more")
    return shares


def add_init(parser: argparse.ArgumentParser, about: str) -> None:
    """The option that names a checkpoint's folder, `about` what it is for."""
    parser.add_argument(
        "--init", "--checkpoint", dest="checkpoint", type=Path, metavar="DIR", help=about
    )


def add_sampling(
    parser: argparse.ArgumentParser, about: str, temperature: float | None = None
) -> None:
    """The options that say how a folder's model draws; its temperature if none is given."""
    parser.add_argument(
        "--temperature", type=positive, default=temperature, help=f"{about}, as the two below"
    )
    parser.add_argument("--top-k", type=count, help="draw among the K likeliest codes")
    parser.add_argument(
        "--top-p", type=share_or_none, help="draw among the likeliest codes that have this share"
    )


def add_codes(parser: argparse.ArgumentParser, about: str) -> None:
    """The option that names a table of codes."""
    parser.add_argument(
        "--codes", type=Path, default=Path("runs/codes"), help=f"{about} (default: %(default)s)"
    )


def add_tokenizer(parser: argparse.ArgumentParser, about: str) -> None:
    """The option that names a tokenizer's folder."""
    parser.add_argument(
        "--tokenizer",
        type=Path,
        default=Path("runs/tokenizer"),
        help=f"{about} (default: %(default)s)",
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    """The option that says what a model computes in."""
    parser.add_argument(
        "--precision",
        choices=tuple(PRECISIONS),
        default="float32",
        help="what the model computes in; bfloat16 where the processor is fast at it",
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """The options that say how many processes there are, and how each computes."""
    parser.add_argument(
        "--workers", type=count, default=1, help="start so many processes here (or use torchrun)"
    )
    add_precision(parser)
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
        recomputes=args.recompute,
        compiles=args.compile,
    )


def at_rate(plan: _Plan, rate: float) -> _Plan:
    """A recipe's plan with its learning rates times this."""
    muon_lr = None if plan.muon_lr is None else plan.muon_lr * rate
    return replace(plan, muon_lr=muon_lr, adam_lr=plan.adam_lr * rate)
