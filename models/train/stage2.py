"""Train stage 2, a prior of any family over codes: `python -m models.train stage2 --resume`.

Pictures are codes here, made beforehand by `codes`; texts are drawn anew at each step and left out
at times.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random

import torch
from torch import nn

from models.configs.codec import CodecConfig
from models.configs.preset import Preset, SamplingDefaults
from models.configs.prior import PriorConfig
from models.errors import ConfigError
from models.families import as_codec, as_prior, build_prior
from models.flags import count, count_or_none, positive, share_or_none
from models.pipeline import LoadOptions, Pipeline
from models.pixel_chunks import PixelChunks
from models.train import options, steps
from models.train.data.bpe_dropout import BpeDropout
from models.train.data.code_table import CodeTable
from models.train.data.data_set import DataSet, Ordered
from models.train.data.emoji.prompts import sheet_prompts
from models.train.data.sources import opened
from models.train.grafting import put_grafted
from models.train.held_out import ToIds, examples_of, losses
from models.train.loop import processes
from models.train.loop.engine import Engine
from models.train.loop.learner import Weights, naming, with_weights
from models.train.loop.loaders import Loaders
from models.train.loop.processes import is_first, my_share
from models.train.loop.run import Chore, Run
from models.train.recipes.prior import Examples, PriorPlan, PriorTrainer
from models.train.recipes.register import PRIOR_RECIPES, prior_recipe
from models.train.recipes.transformer import SIZES, large_plan_of
from models.train.sheet import write_sheet
from models.train.start import (
    codec_of,
    codec_shape_of,
    num_classes,
    prior_to_train,
    tokenizer_of,
)

_TEXT_DROPPED = 0.1
_STEPS, _TRANSFER_EPOCHS = 3000, 8


@dataclass(frozen=True, slots=True)
class Batches:
    """Draws captions and codes; the same for every process, each takes its share.

    A share `dropped` of the captions is left out.
    """

    data: DataSet
    table: CodeTable
    to_ids: ToIds
    size: int
    shares: Mapping[str, float]
    dropped: float

    def draw(self, run: Run, step: int) -> Examples:
        """What this process learns from at a step."""
        share = my_share(self.size)
        texts, rows = zip(*list(self._drawn(run, step))[share], strict=True)
        rngs = [Random(f"{run.seed}/{step}/text {number}") for number in range(self.size)[share]]
        ids = torch.tensor([self.to_ids(*drawn) for drawn in zip(texts, rngs, strict=True)])
        mine = list(rows)
        return Examples(ids, self.table.codes_of(mine), self.table.features_of(mine))

    def titles(self, run: Run, step: int) -> list[str]:
        """Which pictures all processes together learn from at a step."""
        variants = [self.table.variants[row] for _, row in self._drawn(run, step)]
        return [self.data.title(variant) for variant in variants]

    def _drawn(self, run: Run, step: int) -> Iterator[tuple[str, int]]:
        rng = run.rng(step)
        for row in self._rows(step, rng, run.seed):
            text = self.data.caption(self.table.variants[row], rng)
            yield "" if rng.random() < self.dropped else text, row

    def _rows(self, step: int, rng: Random, seed: int) -> Iterator[int]:
        if isinstance(self.data, Ordered):
            positions = range(step * self.size, (step + 1) * self.size)
            yield from self.table.rows(positions, seed)
            return
        for _ in range(self.size):
            yield self.table.draw(rng, self.shares)


def batches_of(args: Namespace, data: DataSet, codec: CodecConfig) -> Batches:
    """What the options say is learnt, of codes that were made by `codec`.

    ConfigError where --codes has others, or none of the kinds that --shares names.
    """
    table, shares = options.table_of(args, data, codec)
    dropped = _TEXT_DROPPED if args.prefix == "text" else 0.0  # a picture always has a class
    return Batches(data, table, _ids_by(args, data), args.batch, shares, dropped)


def _ids_by(args: Namespace, data: DataSet) -> ToIds:
    """From a caption to prefix ids; for a class model the caption is the class's number."""
    if args.prefix == "text":
        tokenizer = tokenizer_of(args, data)
        if args.bpe_dropout:
            return BpeDropout(tokenizer, args.bpe_dropout).encode
        return lambda text, _rng: tokenizer.encode(text)[0]
    if args.bpe_dropout:
        raise ConfigError("--bpe-dropout: only with --prefix text")
    return partial(_class_ids, num_classes(args)) if args.prefix == "class" else lambda *_: [0]


def _class_ids(number_of_all: int, text: str, _rng: Random) -> list[int]:
    """A caption that is a class's number; no caption is class 0."""
    number = text or "0"
    if not number.isdecimal() or int(number) >= number_of_all:
        raise ConfigError(f"--prefix class: {text!r} is no class's number")
    return [int(number)]


def num_steps(args: Namespace, table: CodeTable) -> int:
    """As the options say it; a transfer takes eight epochs, as the reference's."""
    is_transfer = args.checkpoint is not None and args.prefix != "text" and not args.size
    if args.steps is None and (args.epochs or is_transfer):
        num_pictures = len({table.variants[row].image for row in table.whole})
        return int(max(1, num_pictures * (args.epochs or _TRANSFER_EPOCHS) // args.batch))
    return int(args.steps or _STEPS)


def _plan(args: Namespace, plan: PriorPlan) -> PriorPlan:
    """The recipe's numbers, with those that the options name."""
    weight = plan.text_weight if args.text_weight is None else args.text_weight
    return replace(
        options.at_rate(plan, args.rate),
        tau=args.tau,
        draws_codes=not args.nearest,
        text_weight=weight,
        own_codes=args.own_codes,
        accumulate=args.accumulate,
    )


@processes.alone_in("run")
def _work(args: Namespace) -> None:
    options.prepare(args)
    codec = codec_of(args.checkpoint, args.stage1)
    codec_shape = codec_shape_of(args.checkpoint, args.stage1 or args.codes)
    data = opened(args, codec_shape.size[0])
    batches, run = batches_of(args, data, codec_shape), Run(args.run, args.seed)
    shape, model = prior_to_train(args, codec_shape, codec)
    if args.graft and not (args.resume and run.is_begun):
        put_grafted(args, model, batches.table, tokenizer_of(args, data))
    recipe, args.steps = prior_recipe(shape), num_steps(args, batches.table)
    if args.own_codes and not recipe.shows_own:
        raise ConfigError("--own-codes: only where a step draws finer codes at once")
    plan = recipe.plan(args.steps, args.checkpoint is not None)
    plan = _plan(args, large_plan_of(args.steps) if args.size else plan)
    trainer = PriorTrainer(
        model, codec, run, plan, recipe.loss, recipe.looked_up, engine=options.engine_of(args)
    )

    loaders = Loaders(partial(batches.draw, run), args.loaders)

    def step_once(step: int) -> dict[str, float]:
        batch = loaders.batch(step)
        with naming(lambda: batches.titles(run, step)):
            return trainer.step(step, batch)

    judged = {}
    if codec is not None and is_first():
        is_soft = batches.table.features is not None
        judged = examples_of(data, args.judged, codec, batches.to_ids, is_soft=is_soft)
    chores: list[Chore] = [(args.look_every, partial(_judge, trainer, shape, judged))]
    if args.prefix == "text" and codec is not None and args.shown != 0:
        preset = Preset(args.run.name, "", "", codec_shape, shape)
        chores.append((600, partial(_look, args, preset, codec, data)))
    steps.train(args, run, trainer.learner, step_once, chores)


def _judge(
    trainer: PriorTrainer,
    shape: PriorConfig,
    judged: Mapping[str, Examples],
    step: int,
    weights: Weights,
) -> None:
    """Log what the averaged weights lose on held-out pictures, and draw the curves."""
    run = trainer.run
    if found := losses(trainer, shape, weights, judged):
        run.log(step, **found)
    run.plot("loss", *(f"{name}_loss" for name in judged))


def _look(
    args: Namespace,
    preset: Preset,
    codec: nn.Module,
    data: DataSet,
    _step: int,
    weights: Weights,
) -> None:
    """Draw a few prompts with the averaged weights into the run's samples.png."""
    loading = LoadOptions(Engine.usual_device(), graphs=False)
    model = with_weights(build_prior(preset.stage2, codec), weights, loading.device)
    pipeline = Pipeline(
        preset=preset,
        options=loading,
        stage1=as_codec(codec),
        stage2=as_prior(model),
        chunks=PixelChunks((loading.chunk,)),
        tokenizer=tokenizer_of(args, data),
        ranker=None,
    )
    sampling = SamplingDefaults(0.7, None, None, 3)
    prompts = sheet_prompts()[::2][: args.shown]
    write_sheet(pipeline, args.run / "samples.png", sampling, prompts)


def make_parser() -> ArgumentParser:
    """The command's options."""
    parser = options.arguments("stage2", "Train stage 2, a prior of any family.", _STEPS)
    parser.set_defaults(steps=None)
    parser.add_argument("--epochs", type=count, help="instead of --steps (a transfer: 8)")
    parser.add_argument("--size", choices=tuple(SIZES), help="from scratch, as large as this one")
    options.add_stage(parser, PRIOR_RECIPES)
    options.add_engine(parser)
    options.add_large(parser)
    options.add_codes(parser, "what it learns from, as the command codes made it")
    parser.add_argument("--stage1", type=Path, help="a stage-1 run, to draw samples with")
    options.add_shares(parser)
    options.add_tokenizer(parser, "of its texts; learnt from captions where there is none")
    parser.add_argument(
        "--prefix",
        choices=("text", "class", "none"),
        default="text",
        help="what a picture is drawn after (default: %(default)s)",
    )
    parser.add_argument(
        "--classes", type=count_or_none, default=0, help="how many, with --prefix class"
    )
    parser.add_argument("--text-weight", type=share_or_none, help="the text's share of the loss")
    parser.add_argument("--tau", type=positive, default=0.5, help="temperature of soft targets")
    parser.add_argument(
        "--nearest", action="store_true", help="take the nearest codes, don't draw among near ones"
    )
    parser.add_argument("--shown", type=count_or_none, help="prompts in samples.png (default: 18)")
    parser.add_argument(
        "--graft", type=Path, metavar="DIR", help="begin with what this flat model knows of words"
    )
    parser.add_argument(
        "--bpe-dropout",
        type=share_or_none,
        default=0.0,
        metavar="P",
        help="share of merges left out",
    )
    parser.add_argument(
        "--keep-words", action="store_true", help="all but the embeddings of its text learns"
    )
    parser.add_argument(
        "--own-codes",
        type=share_or_none,
        default=0.0,
        metavar="SHARE",
        help="of a cell's finer codes that are shown as the model draws them itself",
    )
    parser.add_argument("--accumulate", type=count, default=1, help="parts to split a batch into")
    return parser


def main(argv: list[str] | None = None) -> None:
    """The command."""
    processes.run(_work, make_parser(), "stage2", argv)


if __name__ == "__main__":
    main()
