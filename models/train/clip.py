"""Train the small CLIP that re-ranks: `python -m models.train.clip --resume`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import partial
from random import Random

from torch import Tensor

from models.errors import ConfigError
from models.files.checkpoint import TOKENIZER_FOLDER
from models.flags import count, share_or_none
from models.rerank.clip_files import load_weights
from models.tokenizer import Tokenizer
from models.train import options, steps
from models.train.data.data_set import Variant
from models.train.data.emoji.emoji_set import Selection
from models.train.data.sources import opened
from models.train.data.tokens import CONTEXT_LENGTH, load_or_learn, vocab_size
from models.train.loop import processes
from models.train.loop.engine import Engine
from models.train.loop.learner import Weights, with_weights
from models.train.loop.precision import PRECISIONS
from models.train.loop.run import Run
from models.train.loop.schedule import Schedule
from models.train.recipes import clip
from models.train.recipes.distortion import distorted
from models.train.shapes import with_values
from models.train.start import ranker_of

_SIZE = 64
Batch = tuple[Tensor, Tensor, Tensor]  # prepared images, text ids, and which say the same


def main(argv: list[str] | None = None) -> None:
    """The command."""
    _work(_arguments().parse_args(argv))


@processes.alone_in("run")
def _work(args: Namespace) -> None:
    options.prepare(args)
    begun = ranker_of(args.checkpoint) if args.checkpoint else None
    if begun and args.size not in {None, begun.size}:
        raise ConfigError(
            f"--size: the ranker of {args.checkpoint} looks at {begun.size} pixels a side"
        )
    size = begun.size if begun else args.size or _SIZE
    data = opened(args, size, Selection(part=args.part, more=args.more_art))
    if begun:  # no tokenizer is ever learnt into somebody's checkpoint
        tokenizer = Tokenizer.load(begun.folder / TOKENIZER_FOLDER, CONTEXT_LENGTH)
        document = begun.document
    else:
        tokenizer = load_or_learn(data, args.tokenizer)
        document = clip.description(vocab_size(args.tokenizer), size)
    with_values(document["model_cfg"], args.shape)
    model = clip.build(document)
    if begun:
        load_weights(model, begun.config, begun.folder)
    run = Run(args.run, args.seed)
    engine = Engine(Engine.usual_device(), PRECISIONS[args.precision])
    trainer = clip.ClipTrainer(model, Schedule(args.steps), engine, rate=args.rate)

    def make(step: int, variants: list[Variant], rng: Random) -> Batch:
        shown = made_plain(variants, args.plain, rng) if args.plain else variants
        images, ids, targets = clip.batch(data, tokenizer, shown, rng)
        numbers = run.torch_rng(step)
        changed = distorted(clip.disturb(images, numbers), args.distortion, numbers)
        return clip.prepare(changed), ids, targets

    def learn(step: int, batch: Batch) -> dict[str, float]:
        return trainer.step(step, *batch)

    def look(step: int, weights: Weights) -> None:
        judged = with_weights(clip.build(document), weights, engine.device)
        run.log(step, **clip.retrieval(judged, data, tokenizer))
        run.plot("loss", "val_top1", "val_top5")
        clip.save(run.folder / "clip", weights, document)

    step_once = steps.on_variants(args, run, data, make, learn)
    steps.train(args, run, trainer.learner, step_once, [(args.look_every, look)])


def _arguments() -> ArgumentParser:
    parser = options.arguments(
        "clip", "Train the CLIP that re-ranks the emoji model's pictures.", 800
    )
    options.add_tokenizer(parser, "whose ids it reads; learnt from captions where there is none")
    parser.add_argument(
        "--part",
        choices=("all", "even", "odd"),
        default="all",
        help="of the pictures: all, or one of two halves (default: %(default)s)",
    )
    parser.add_argument(
        "--more-art", action="store_true", help="learn from art sets besides that are never drawn"
    )
    parser.add_argument(
        "--plain",
        type=share_or_none,
        default=0.0,
        metavar="SHARE",
        help="show so many of a batch's pictures as they are, alone (default: as the data has it)",
    )
    at_least = partial(count, least=clip.PATCHES)
    about = f"pixels a side that it looks at (default: {_SIZE})"
    parser.add_argument("--size", type=at_least, help=about)
    options.add_shape(parser, "vision_cfg.width=192 text_cfg.width=192")
    options.add_init(parser, "fine-tune this checkpoint's ranker, and read by its tokenizer")
    options.add_rate(parser)
    parser.add_argument(
        "--distortion",
        type=share_or_none,
        default=0.0,
        metavar="STRENGTH",
        help="turn, tint, coarsen and hide parts of its pictures (default: %(default)s)",
    )
    options.add_precision(parser)
    options.add_looks(parser, 50)
    return parser


def made_plain(variants: list[Variant], share: float, rng: Random) -> list[Variant]:
    """So many of them alone and as they are, with the same pictures."""
    return [Variant(v.image) if rng.random() < share else v for v in variants]


if __name__ == "__main__":
    main()
