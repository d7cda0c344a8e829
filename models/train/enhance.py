"""Train an enhancement of a checkpoint: `python -m models.train enhance --checkpoint DIR`.

First `--part codec`, then `--part prior --start RUN`; `--ship` writes the folder that the
checkpoint's config.yaml is then to name. The checkpoint's own codec is frozen. Knows no text.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from models.configs.codec import CodecConfig
from models.configs.enhancement import Enhancement
from models.enhance.cell_upsampler import CellUpsampler
from models.errors import ConfigError
from models.families import as_codec, build_upsampler
from models.files import enhance_folder, fingerprint
from models.files.checkpoint import load_stage1, open_checkpoint
from models.files.new_folder import check_free
from models.lookalikes import CONFIG_NAME
from models.presets.register import WEIGHTS_FOLDER
from models.stage1.codec import Codec
from models.train import options, steps
from models.train.data.data_set import DataSet, rendered
from models.train.data.sources import opened
from models.train.loop import processes
from models.train.loop.checkpoints import averaged
from models.train.loop.engine import Engine
from models.train.loop.learner import Learner, Weights, with_weights
from models.train.loop.pictures import save_grid
from models.train.loop.processes import is_first
from models.train.loop.run import Run
from models.train.recipes import enhance
from models.train.recipes.codec import CodecTrainer
from models.train.recipes.enhance_judge import judge
from models.train.recipes.prior import Examples, PriorTrainer
from models.train.shapes import changed
from models.train.start import initialise, put_averaged
from models.train.steps import StepOnce

_NUM_SHOWN = 8
_NUM_TO_START_CODES = 96  # pictures for k-means
_EMOJI = WEIGHTS_FOLDER / "emoji"


def enhancement_of(args: Namespace, codec: CodecConfig, codec_sha256: str) -> Enhancement:
    """What is trained: another run's, or a fresh one's by --shape; noted in the run's folder.

    ConfigError where it can't be over this codec, known by its config and its fingerprint.
    """
    known = args.run if args.resume and enhance_folder.is_noted(args.run) else args.start
    if known is not None:
        enhancement = enhance_folder.noted(known)
        if changed(enhancement.shape, args.shape) != enhancement.shape:
            raise ConfigError(f"--shape: the weights to go on from, in {known}, are another's")
        _check_codec(known, enhancement, codec_sha256)
    else:
        shape = changed(enhance.shape_for(codec), args.shape)
        enhance_folder.check(shape, "--shape")
        enhancement = Enhancement(shape)
    enhance_folder.check_fits(enhancement, codec)
    enhancement = replace(enhancement, codec_sha256=codec_sha256)
    enhance_folder.note(args.run, enhancement)
    return enhancement


def _check_codec(known: Path, enhancement: Enhancement, codec_sha256: str) -> None:
    try:
        enhance_folder.check_codec(enhancement, codec_sha256)
    except ConfigError as error:
        raise ConfigError(f"--checkpoint: {known / CONFIG_NAME}: {error}") from None


def _as_shipped(args: Namespace, enhancement: Enhancement) -> Enhancement:
    """With what the options say of its draws: it is judged so, and shipped so."""
    return replace(
        enhancement,
        is_default=not args.off,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        is_mean=args.mean,
    )


def _model(args: Namespace, enhancement: Enhancement) -> CellUpsampler:
    model = build_upsampler(enhancement.shape)
    assert isinstance(model, CellUpsampler)
    enhance.begin_at_the_coarse_picture(model)
    initialise(model.prior, args.seed)
    if args.start:
        put_averaged(model, args.start)
    is_codec = args.part == "codec"
    model.codec.requires_grad_(is_codec)
    model.prior.requires_grad_(not is_codec)
    return model


def _codec_part(
    args: Namespace, model: CellUpsampler, coarse: enhance.Coarse, run: Run, data: DataSet
) -> tuple[Learner, StepOnce]:
    """The codec's training."""
    plan = enhance.codec_plan(args.steps)
    if args.start:
        plan = replace(plan, unquantised=-1)
    codes = enhance.codes_of(model, coarse, run, plan)
    trainer = CodecTrainer(
        model, run, plan, codes, enhance.Consistency(coarse), engine=options.engine_of(args)
    )
    return trainer.learner, steps.on_codec(args, trainer, data, _NUM_TO_START_CODES)


def _prior_part(
    args: Namespace, model: CellUpsampler, coarse: enhance.Coarse, run: Run, data: DataSet
) -> tuple[Learner, StepOnce]:
    """The light prior's training, over a codec that was trained before."""
    if not args.start:
        raise ConfigError("--part prior: give the codec's run as --start")
    plan = enhance.prior_plan(args.steps)
    trainer = PriorTrainer(
        model,
        None,
        run,
        plan,
        enhance.prior_loss,
        enhance.LOOKED_UP,
        engine=options.engine_of(args),
    )

    def step_on(step: int, images: Tensor) -> dict[str, float]:
        images = images.to(trainer.engine.device)
        codes = coarse.codes(images)
        with torch.no_grad():
            finer = model.encode(images * 0.5 + 0.5, coarse.images(codes) * 0.5 + 0.5)
        return trainer.step(step, Examples(codes, finer))

    return trainer.learner, steps.on_pictures(args, run, data, step_on)


def _work(args: Namespace) -> None:
    if args.ship:
        check_free(args.ship)
    _train(args)


@processes.alone_in("run")
def _train(args: Namespace) -> None:
    options.prepare(args)
    checkpoint = open_checkpoint(args.checkpoint, codec_alone=True)
    device = Engine.usual_device()
    shape, stage1 = checkpoint.preset.stage1, load_stage1(checkpoint)
    known_as, codec = fingerprint.of(stage1.state_dict().items()), as_codec(stage1.to(device))
    enhancement = _as_shipped(args, enhancement_of(args, shape, known_as))
    data = opened(args, shape.size[0])
    run = Run(args.run, args.seed)
    part = _codec_part if args.part == "codec" else _prior_part
    learner, step_once = part(
        args, _model(args, enhancement).to(device), enhance.Coarse(codec), run, data
    )
    judged = [variant for sort in data.judged(args.judged).values() for variant in sort]
    images = rendered(data, judged).to(device) if judged else None
    look = partial(_look, run, codec, images, enhancement)
    steps.train(args, run, learner, step_once, [(args.look_every, look)])
    if args.ship and is_first():
        _ship(args, enhancement)


def _look(
    run: Run,
    codec: Codec,
    images: Tensor | None,
    enhancement: Enhancement,
    step: int,
    weights: Weights,
) -> None:
    """Log what the averaged weights reach, and show original, coarse, true and drawn pictures.

    Only the curve where there are no pictures to judge by.
    """
    if images is not None:
        model = with_weights(build_upsampler(enhancement.shape), weights, Engine.usual_device())
        assert isinstance(model, CellUpsampler)
        values, made = judge(model, codec, images, enhancement)
        run.log(step, **{f"val_{name}": value for name, value in values.items()})
        shown = torch.cat((images[None], made))[:, :_NUM_SHOWN]
        save_grid(shown.flatten(0, 1) * 0.5 + 0.5, shown.shape[1], run.folder / "grid.png")
    run.plot("loss", "val_psnr_drawn", "val_nll")


def _ship(args: Namespace, enhancement: Enhancement) -> None:
    """Write the folder of an enhancement, with the run's averaged weights."""
    step, weights = averaged(args.run)
    source = {"trained by": "models.train", "steps": step}
    enhance_folder.save(args.ship, enhancement, weights.items(), torch.float16, source=source)


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = options.arguments("enhance", "Train an enhancement of a checkpoint.", 4000)
    options.add_init(parser, "whose pictures are to be enhanced (default: the emoji model)")
    parser.set_defaults(checkpoint=_EMOJI)
    parser.add_argument(
        "--part",
        choices=("codec", "prior"),
        default="codec",
        help="what is trained: the finer codes' codec, then what draws them (default: %(default)s)",
    )
    options.add_shape(parser, "n_embed=512")
    options.add_start(parser)
    options.add_engine(parser)
    parser.add_argument("--ship", type=Path, metavar="DIR", help="write the folder to serve then")
    parser.add_argument("--off", action="store_true", help="ship it so that requests must ask")
    options.add_sampling(parser, "of its draws", 1.0)
    parser.add_argument(
        "--mean", action="store_true", help="draw no finer codes: take the mean of them all"
    )
    processes.run(_work, parser, "enhance", argv)


if __name__ == "__main__":
    main()
