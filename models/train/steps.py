"""The steps of a training command: what each learns from, and how a run takes them.

As the options of `options` say it. Knows no model.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from torch import Tensor

from models.train.data.data_set import DataSet, Variant, batch_at, drawn, rendered
from models.train.loop import checkpoints
from models.train.loop import run as loop
from models.train.loop.checkpoints import Checkpoints
from models.train.loop.learner import Learner, naming
from models.train.loop.loaders import Loaders
from models.train.loop.pace import Pace
from models.train.loop.pictures import tensorboard
from models.train.loop.processes import is_first, my_share
from models.train.loop.run import Chore, Run
from models.train.recipes.codec import CodecTrainer

StepOnce = Callable[[int], dict[str, float]]
_Batch = TypeVar("_Batch")


def on_variants(
    args: Namespace,
    run: Run,
    data: DataSet,
    make: Callable[[int, list[Variant], Random], _Batch],
    learn: Callable[[int, _Batch], dict[str, float]],
) -> StepOnce:
    """The step that learns from what `make` makes of this process's share of a batch.

    `make` may draw from the step's generator, and is what --loaders do ahead.
    """

    def drawn_at(step: int) -> tuple[list[Variant], Random]:
        rng = run.rng(step)
        return batch_at(data, step, args.batch, rng, args.seed), rng

    def made(step: int) -> _Batch:
        variants, rng = drawn_at(step)
        return make(step, variants[my_share(args.batch)], rng)

    loaders = Loaders(made, args.loaders)

    def step_once(step: int) -> dict[str, float]:
        batch = loaders.batch(step)
        with naming(lambda: map(data.title, drawn_at(step)[0])):
            return learn(step, batch)

    return step_once


def on_pictures(
    args: Namespace,
    run: Run,
    data: DataSet,
    learn: Callable[[int, Tensor], dict[str, float]],
) -> StepOnce:
    """The same, from images [B, 3, H, W] in [-1, 1]."""
    return on_variants(args, run, data, lambda _, mine, __: rendered(data, mine), learn)


def on_codec(args: Namespace, trainer: CodecTrainer, data: DataSet, num_to_start: int) -> StepOnce:
    """The step of a codec, which first finds its codes in so many pictures."""
    run = trainer.run

    def learn(step: int, images: Tensor) -> dict[str, float]:
        if step == trainer.plan.unquantised:
            trainer.start_codes(rendered(data, drawn(data, run.rng(-1), num_to_start)))
        return trainer.step(step, images)

    return on_pictures(args, run, data, learn)


def train(
    args: Namespace,
    run: Run,
    learner: Learner,
    step_once: StepOnce,
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
