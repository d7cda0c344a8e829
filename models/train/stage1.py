"""Train stage 1, a codec of any family: `python -m models.train stage1 --resume`. Knows no text."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from models.configs import CodecConfig
from models.families import as_codec
from models.train import options
from models.train.data.data_set import DataSet, drawn, rendered
from models.train.data.sources import opened
from models.train.loop import processes
from models.train.loop.engine import Engine
from models.train.loop.learner import Weights
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
    plan = recipe.plan(model, args.steps, args.checkpoint is not None)
    muon_lr = plan.muon_lr and plan.muon_lr * args.rate
    plan = replace(plan, muon_lr=muon_lr, adam_lr=plan.adam_lr * args.rate)
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


def _work(args: Namespace) -> None:
    options.prepare(args)
    shape, trainer = trainer_of(args)
    run, data = trainer.run, opened(args, shape.size[0])

    def step_on(step: int, images: Tensor) -> dict[str, float]:
        if step == trainer.plan.unquantised:
            trainer.start_codes(rendered(data, drawn(data, run.rng(-1), _NUM_TO_START_CODES)))
        return trainer.step(step, images)

    step_once = options.on_pictures(args, run, data, step_on)
    judged = _judged(data, args.judged) if is_first() else {}
    look = (args.look_every, partial(_look, shape, trainer, judged))
    options.train(args, run, trainer.learner, step_once, [look])


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
    run, model = trainer.run, codec_recipe(shape).build(shape).eval()
    model.load_state_dict(weights)
    model.to(trainer.engine.device)
    pairs = []
    for name, images in judged.items():
        values, made = evaluate(as_codec(model), images.to(trainer.engine.device))
        run.log(step, **{f"{name}_{key}": value for key, value in values.items()})
        pairs.append(
            torch.stack([images[:_NUM_SHOWN], made[:_NUM_SHOWN].cpu()], dim=1).flatten(0, 1)
        )
    if pairs:
        save_grid(torch.cat(pairs) * 0.5 + 0.5, 12, run.folder / "grid.png")
    run.plot("loss", "commitment", *(f"{name}_psnr" for name in judged))


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = options.arguments("Train stage 1, a codec of any family.", "runs/stage1", 4000)
    options.add_stage(parser, CODEC_RECIPES)
    options.add_engine(parser)
    parser.add_argument("--look-every", type=int, default=200, help="steps between judgements")
    parser.add_argument("--judged", type=int, default=96, help="pictures of each sort to judge by")
    parser.add_argument(
        "--gan", nargs="?", type=float, const=0.75, metavar="WEIGHT", help="with an adversary"
    )
    parser.add_argument("--gan-from", type=int, default=0, metavar="STEP", help="its first step")
    parser.add_argument("--lpips", type=Path, metavar="FILE", help="with LPIPS, of these weights")
    processes.run(_work, parser, "stage1", argv)


if __name__ == "__main__":
    main()
