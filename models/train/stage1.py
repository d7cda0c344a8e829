"""Train stage 1, a codec of any family: `python -m models.train stage1 --resume`. Knows no text."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from models.configs.codec import CodecConfig
from models.families import as_codec, build_codec
from models.flags import count_or_none, positive
from models.train import options, steps
from models.train.data.data_set import DataSet, rendered
from models.train.data.sources import opened
from models.train.loop import processes
from models.train.loop.engine import Engine
from models.train.loop.learner import Weights, with_weights
from models.train.loop.pictures import save_grid
from models.train.loop.processes import is_first
from models.train.loop.run import Run
from models.train.loop.schedule import Schedule
from models.train.recipes.adversary import LAST_LAYER, Adversary
from models.train.recipes.codebook_averages import PATIENCE
from models.train.recipes.codec import CodecTrainer, Critic, evaluate
from models.train.recipes.perceptual import load_perceptual
from models.train.recipes.register import CODEC_RECIPES, codec_recipe
from models.train.start import codec_to_train

_NUM_SHOWN = 24
_NUM_TO_START_CODES = 192  # pictures for k-means: a grid of 8×8 has 12,288 vectors in them


def trainer_of(args: Namespace) -> tuple[CodecConfig, CodecTrainer]:
    """The codec that the options ask for, ready to learn; and its shape."""
    (shape, model), run = codec_to_train(args), Run(args.run, args.seed)
    engine = options.engine_of(args)
    model.to(engine.device)
    recipe = codec_recipe(shape)
    plan = options.at_rate(recipe.plan(model, args.steps, args.checkpoint is not None), args.rate)
    if args.start:
        plan = replace(plan, unquantised=-1, patience=PATIENCE)
    codes = recipe.codes(model, run, plan)
    critics = _critics(args, model, plan.schedule, engine)
    return shape, CodecTrainer(model, run, plan, codes, *critics, engine=engine)


def _critics(args: Namespace, model: nn.Module, schedule: Schedule, engine: Engine) -> list[Critic]:
    """Who judges besides the reconstruction; LPIPS first, for the adversary is weighed by it."""
    critics: list[Critic] = []
    if args.lpips:
        critics.append(load_perceptual(args.lpips))
    if args.gan:
        last = model.get_parameter(LAST_LAYER)
        weighed = {"weight": args.gan, "start": args.gan_from}
        critics.append(Adversary(last, schedule, **weighed, engine=engine))
    return critics


@processes.alone_in("run")
def _work(args: Namespace) -> None:
    options.prepare(args)
    shape, trainer = trainer_of(args)
    data = opened(args, shape.size[0])
    step_once = steps.on_codec(args, trainer, data, _NUM_TO_START_CODES)
    judged = _judged(data, args.judged) if is_first() else {}
    look = (args.look_every, partial(_look, shape, trainer, judged))
    steps.train(args, trainer.run, trainer.learner, step_once, [look])


def _judged(data: DataSet, number: int) -> dict[str, Tensor]:
    """Images [n, 3, H, W] to judge by, of each sort that the data has."""
    return {name: rendered(data, found) for name, found in data.judged(number).items() if found}


def _look(
    shape: CodecConfig,
    trainer: CodecTrainer,
    judged: Mapping[str, Tensor],
    step: int,
    weights: Weights,
) -> None:
    """Log what the averaged weights reach, and lay originals and reconstructions side by side."""
    run, device = trainer.run, trainer.engine.device
    model = with_weights(build_codec(shape), weights, device)
    pairs = []
    for name, images in judged.items():
        values, made = evaluate(as_codec(model), images.to(device))
        run.log(step, **{f"{name}_{key}": value for key, value in values.items()})
        pairs.append(
            torch.stack([images[:_NUM_SHOWN], made[:_NUM_SHOWN].cpu()], dim=1).flatten(0, 1)
        )
    if pairs:
        save_grid(torch.cat(pairs) * 0.5 + 0.5, 12, run.folder / "grid.png")
    run.plot("loss", "commitment", *(f"{name}_psnr" for name in judged))


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = options.arguments("stage1", "Train stage 1, a codec of any family.", 4000)
    options.add_stage(parser, CODEC_RECIPES)
    options.add_engine(parser)
    parser.add_argument(
        "--gan", nargs="?", type=positive, const=0.75, metavar="WEIGHT", help="with an adversary"
    )
    parser.add_argument(
        "--gan-from", type=count_or_none, default=0, metavar="STEP", help="its first step"
    )
    parser.add_argument("--lpips", type=Path, metavar="FILE", help="with LPIPS, of these weights")
    processes.run(_work, parser, "stage1", argv)


if __name__ == "__main__":
    main()
