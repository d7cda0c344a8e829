"""Train a prior over pixels: `python -m models.train pixels --family pixel-cnn-pp --data DIR`.

There is no stage 1 to train: codes are the pictures' own values. Held-out pictures are judged in
bits per dimension, over sub-pixels, as the papers report. `--ship` writes a checkpoint folder.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import cast

import torch
from torch import Tensor, nn

from models.configs.pixels import GatedPixelCNNConfig, PixelCNNConfig, PixelPriorConfig, codec_for
from models.configs.preset import Preset, SamplingDefaults
from models.drawing.sampling import RowParams
from models.errors import ConfigError
from models.families import as_codec, as_prior, build_codec, build_prior
from models.files import convert, pixel_config
from models.files.layouts import written
from models.files.new_folder import check_free
from models.flags import count_or_none
from models.pipeline import LoadOptions, Pipeline
from models.stage1.raw_pixels import RawPixels
from models.train import options, steps
from models.train.data.data_set import DataSet, Variant, rendered
from models.train.data.folder import FolderSet
from models.train.data.sources import opened
from models.train.held_out import losses
from models.train.loop import processes
from models.train.loop.learner import Weights, with_weights
from models.train.loop.pictures import save_grid
from models.train.loop.processes import is_first
from models.train.loop.run import Run
from models.train.recipes.pixels import SHAPES, initialise, loss, plan_of
from models.train.recipes.prior import Examples, PriorTrainer
from models.train.shapes import changed

_MAX_HELD_OUT = 256


@dataclass(frozen=True, slots=True)
class Pictures:
    """A data set as levels, and each picture's class; no classes where the model has none."""

    data: DataSet
    codec: RawPixels
    classes: dict[int, int] | None

    def examples(self, variants: Sequence[Variant]) -> Examples:
        """Levels [B, C, H, W] as codes, and as prefix classes [B, 1], or [B, 0]."""
        pixels = rendered(self.data, variants) * 0.5 + 0.5
        classes = [] if self.classes is None else [self.classes[v.image] for v in variants]
        prefix = torch.tensor(classes, dtype=torch.int64).view(len(variants), -1)
        return Examples(prefix, self.codec.values(self.codec.encode(pixels)))


def classes_in(data: DataSet) -> tuple[dict[int, int], int]:
    """Image → class, and how many there are: a folder's are its folders, others' what they show."""
    images = (*data.images, *data.held_out)
    if not isinstance(data, FolderSet):
        return {image: data.name_of(image) for image in images}, len(data.names())
    of = {image: data.files.group(image) for image in images}
    groups = sorted(set(of.values()))
    return {image: groups.index(group) for image, group in of.items()}, len(groups)


def _shape(args: Namespace, num_classes: int) -> PixelPriorConfig:
    """What the options ask for; with --classes it has as many as the data."""
    base = SHAPES[args.family]
    if isinstance(base, PixelCNNConfig):
        if args.classes:
            raise ConfigError("--classes: PixelCNN has none; take gated-pixel-cnn")
    elif args.classes or isinstance(base, GatedPixelCNNConfig):
        base = replace(base, n_classes=num_classes)
    shape = cast(PixelPriorConfig, changed(base, args.shape))
    pixel_config.check(shape, "--shape")
    if shape.height != shape.width:
        raise ConfigError("--shape: height and width must be equal, as the data's pictures are")
    return shape


def _preset(args: Namespace, shape: PixelPriorConfig) -> Preset:
    name = args.ship.name if args.ship else args.run.name
    about = f"Trained by models.train: {shape.width}×{shape.height} pixels, {shape.summary}"
    sampling = SamplingDefaults(top_k=None, num_candidates=4)
    return Preset(name, about, args.licence, codec_for(shape), shape, sampling=sampling)


def _draw(preset: Preset, model: nn.Module, args: Namespace) -> Tensor:
    """A few pictures [n, 3, H, W], of the first classes where there are some."""
    codec = as_codec(build_codec(preset.stage1))
    pipeline = Pipeline(preset, LoadOptions(), codec, as_prior(model))
    batch, drawn = pipeline.batch(args.samples), list[Tensor]()
    prompts = range(preset.num_classes)[: args.samples] if preset.num_classes else [None]
    for prompt in prompts:
        rows = range(args.samples // len(prompts))
        params = [RowParams(args.seed, row) for row in rows]
        drawn += [made.pixels for made in pipeline.generate(prompt, params, batch=batch)]
    return torch.stack(drawn)


def _work(args: Namespace) -> None:
    if args.ship:
        check_free(args.ship)
    _train(args)


@processes.alone_in("run")
def _train(args: Namespace) -> None:
    options.prepare(args)
    size = codec_for(cast(PixelPriorConfig, changed(SHAPES[args.family], args.shape))).width
    data = opened(args, size)
    classes, num_classes = classes_in(data)
    shape = _shape(args, num_classes)
    codec = cast(RawPixels, build_codec(codec_for(shape)))
    pictures = Pictures(data, codec, classes if shape.num_classes else None)
    trainer = _trainer(args, shape)
    held_out = [Variant(image) for image in data.held_out[:_MAX_HELD_OUT]]
    judged = {"val": pictures.examples(held_out)} if held_out and is_first() else {}

    def make(_step: int, variants: Sequence[Variant], _rng: Random) -> Examples:
        return pictures.examples(variants)

    def learn(step: int, examples: Examples) -> dict[str, float]:
        return {"bits": trainer.step(step, examples)["loss"]}

    step_once = steps.on_variants(args, trainer.run, data, make, learn)
    look = partial(_judge, trainer, shape, judged)
    steps.train(args, trainer.run, trainer.learner, step_once, [(200, look)])
    weights = trainer.learner.average.gathered()
    if is_first():
        _finish(args, trainer.run, shape, weights)


def _trainer(args: Namespace, shape: PixelPriorConfig) -> PriorTrainer:
    model = build_prior(shape, nn.Identity())
    initialise(model, args.seed)
    plan = options.at_rate(plan_of(shape, args.steps), args.rate)
    run, engine = Run(args.run, args.seed), options.engine_of(args)
    return PriorTrainer(model.train(), None, run, plan, loss, engine=engine)


def _judge(
    trainer: PriorTrainer,
    shape: PixelPriorConfig,
    judged: Mapping[str, Examples],
    step: int,
    weights: Weights,
) -> None:
    """Log what the averaged weights need for held-out pictures, and draw the curves."""
    for value in losses(trainer, shape, weights, judged).values():
        trainer.run.log(step, val_bits=value)
    trainer.run.plot("bits", "val_bits")


def _finish(args: Namespace, run: Run, shape: PixelPriorConfig, weights: Weights) -> None:
    """Say how good it has become, draw a few pictures and ship it, if that is asked for."""
    last = [row["val_bits"] for row in run.history() if "val_bits" in row][-1:]
    for value in last:
        print(f"{value:.3f} bits per dimension on held-out pictures (averaged weights)")
    preset, model = _preset(args, shape), with_weights(build_prior(shape, nn.Identity()), weights)
    if args.samples:
        save_grid(_draw(preset, model, args), 4, run.folder / "samples.png")
    if args.ship:
        source = {"trained by": "models.train", "shape": written(shape)}
        convert.save(args.ship, preset, {"stage2": weights.items()}, source=source)


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = options.arguments("pixels", "Train a prior over pixels.", 2000)
    parser.add_argument(
        "--family",
        choices=tuple(SHAPES),
        default="pixel-cnn-pp",
        help="what to train (default: %(default)s)",
    )
    options.add_shape(parser, "height=16 width=16")
    options.add_rate(parser)
    options.add_engine(parser)
    parser.add_argument("--classes", action="store_true", help="condition it on pictures' classes")
    parser.add_argument(
        "--samples", type=count_or_none, default=8, help="pictures to draw in the end"
    )
    parser.add_argument("--ship", type=Path, metavar="DIR", help="write a checkpoint folder then")
    parser.add_argument("--licence", default="unknown", help="of the shipped weights")
    processes.run(_work, parser, "pixels", argv)


if __name__ == "__main__":
    main()
