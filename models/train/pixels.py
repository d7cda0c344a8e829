"""Train a prior over pixels: `python -m models.train pixels --family pixel-cnn-pp --data DIR`.

There is no stage 1 to train: codes are the pictures' own values. Held-out pictures are judged in
bits per dimension, over sub-pixels, as the papers report. `--ship` writes a checkpoint folder.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from models.configs import Preset, SamplingDefaults
from models.drawing.sampling import RowParams
from models.errors import ConfigError
from models.families import as_codec, as_prior, build_codec, build_prior
from models.files import convert, pixel_config
from models.files.layouts import written
from models.pipeline import LoadOptions, Pipeline
from models.pixel_configs import GatedPixelCNNConfig, PixelCNNConfig, PixelPriorConfig, codec_for
from models.stage1.raw_pixels import RawPixels
from models.train import options
from models.train.data.data_set import DataSet, Variant, batch_at, rendered
from models.train.data.folder import FolderSet
from models.train.data.sources import opened
from models.train.loop.learner import Weights
from models.train.loop.pictures import save_grid
from models.train.loop.run import Run
from models.train.recipes.pixels import (
    SHAPES,
    PixelTrainer,
    held_out_bits,
    initialise,
    plan_of,
)
from models.train.shapes import changed

_MAX_HELD_OUT = 256


@dataclass(frozen=True, slots=True)
class Pictures:
    """A data set as levels, and each picture's class; no classes where the model has none."""

    data: DataSet
    codec: RawPixels
    classes: dict[int, int] | None

    def batch(self, variants: Sequence[Variant]) -> tuple[Tensor, Tensor | None]:
        """Levels [B, C, H, W] and classes [B]."""
        pixels = rendered(self.data, variants) * 0.5 + 0.5
        values = self.codec.values(self.codec.encode(pixels))
        if self.classes is None:
            return values, None
        return values, torch.tensor([self.classes[variant.image] for variant in variants])


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


def _averaged(weights: Weights, shape: PixelPriorConfig) -> nn.Module:
    model = build_prior(shape, nn.Identity())
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


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


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = options.arguments("Train a prior over pixels.", "runs/pixels", 2000)
    parser.add_argument("--family", choices=tuple(SHAPES), default="pixel-cnn-pp")
    parser.add_argument("--shape", nargs="*", default=(), help="such as height=16 width=16")
    parser.add_argument("--classes", action="store_true", help="condition it on pictures' classes")
    parser.add_argument("--rate", type=float, default=1.0, help="times the recipe's learning rate")
    parser.add_argument("--samples", type=int, default=8, help="pictures to draw in the end")
    parser.add_argument("--ship", type=Path, metavar="DIR", help="write a checkpoint folder then")
    parser.add_argument("--licence", default="unknown", help="of the shipped weights")
    args = parser.parse_args(argv)
    options.prepare(args)
    size = codec_for(cast(PixelPriorConfig, changed(SHAPES[args.family], args.shape))).width
    data = opened(args, size)
    classes, num_classes = classes_in(data)
    shape = _shape(args, num_classes)
    codec = cast(RawPixels, build_codec(codec_for(shape)))
    _train(args, shape, Pictures(data, codec, classes if shape.num_classes else None))


def _train(args: Namespace, shape: PixelPriorConfig, pictures: Pictures) -> None:
    model, run = build_prior(shape, nn.Identity()), Run(args.run, args.seed)
    initialise(model, args.seed)
    trainer = PixelTrainer(model.train(), run, plan_of(shape, args.steps, args.rate))
    data = pictures.data
    held_out = [Variant(image) for image in data.held_out[:_MAX_HELD_OUT]]

    def step_once(step: int) -> dict[str, float]:
        rng = run.rng(step)
        batch = batch_at(data, step, args.batch, rng, args.seed)
        return trainer.step(step, *pictures.batch(batch))

    def judge(step: int, weights: Weights) -> None:
        if held_out:
            values, classes = pictures.batch(held_out)
            averaged = _averaged(weights, shape)
            run.log(step, val_bits=held_out_bits(averaged, values, classes, args.batch))
        run.plot("bits", "val_bits")

    options.train(args, run, trainer.learner, step_once, [(200, judge)])
    _finish(args, trainer, shape)


def _finish(args: Namespace, trainer: PixelTrainer, shape: PixelPriorConfig) -> None:
    """Say how good it has become, draw a few pictures and ship it, if that is asked for."""
    last = [row["val_bits"] for row in trainer.run.history() if "val_bits" in row][-1:]
    for value in last:
        print(f"{value:.3f} bits per dimension on held-out pictures (averaged weights)")
    preset, model = _preset(args, shape), _averaged(trainer.learner.average.weights, shape)
    if args.samples:
        save_grid(_draw(preset, model, args), 4, trainer.run.folder / "samples.png")
    if args.ship:
        source = {"trained by": "models.train", "shape": written(shape)}
        convert.save(args.ship, preset, {"stage2": model.state_dict().items()}, source=source)


if __name__ == "__main__":
    main()
