"""Train the small CLIP that re-ranks: `python -m models.train.clip --resume`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from torch import Tensor

from models.errors import ConfigError
from models.files.checkpoint import TOKENIZER_FOLDER, open_checkpoint
from models.flags import count
from models.rerank.clip_files import load_described
from models.train import options
from models.train.data.data_set import Variant
from models.train.data.emoji.emoji_set import Selection
from models.train.data.sources import opened
from models.train.data.tokens import load_or_learn, vocab_size
from models.train.loop.engine import Engine
from models.train.loop.learner import Weights, with_weights
from models.train.loop.precision import PRECISIONS
from models.train.loop.run import Run
from models.train.loop.schedule import Schedule
from models.train.recipes import clip
from models.train.shapes import with_values

Batch = tuple[Tensor, Tensor, Tensor]  # prepared images, text ids, and which say the same


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = options.arguments(
        "Train the CLIP that re-ranks the emoji model's pictures.", "runs/clip", 800
    )
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/tokenizer"))
    parser.add_argument("--part", choices=("all", "even", "odd"), default="all")
    size = partial(count, least=clip.PATCHES)
    parser.add_argument("--size", type=size, default=64, help="pixels a side that it looks at")
    options.add_shape(parser, "vision_cfg.width=192 text_cfg.width=192")
    options.add_init(parser, "fine-tune this checkpoint's ranker, and read by its tokenizer")
    options.add_rate(parser)
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="float32")
    options.add_looks(parser, 50)
    args = parser.parse_args(argv)
    options.prepare(args)
    begun = _begun(args.checkpoint) if args.checkpoint else None
    size = begun[0]["model_cfg"]["vision_cfg"]["image_size"] if begun else args.size
    data = opened(args, size, Selection(part=args.part))
    words = args.checkpoint / TOKENIZER_FOLDER if begun else args.tokenizer
    tokenizer = load_or_learn(data, words)
    document, model = begun or _fresh(words, args.size, args.shape)
    run = Run(args.run, args.seed)
    engine = Engine(Engine.usual_device(), PRECISIONS[args.precision])
    trainer = clip.ClipTrainer(model, Schedule(args.steps), engine, rate=args.rate)

    def make(step: int, variants: list[Variant], rng: Random) -> Batch:
        images, ids, targets = clip.batch(data, tokenizer, variants, rng)
        disturbed = clip.disturb(images, run.torch_rng(step))
        return clip.prepare(disturbed), ids, targets

    def learn(step: int, batch: Batch) -> dict[str, float]:
        return trainer.step(step, *batch)

    def look(step: int, weights: Weights) -> None:
        judged = with_weights(clip.build(document), weights, engine.device)
        run.log(step, **clip.retrieval(judged, data, tokenizer))
        run.plot("loss", "val_top1", "val_top5")
        clip.save(run.folder / "clip", weights, document)

    step_once = options.on_variants(args, run, data, make, learn)
    options.train(args, run, trainer.learner, step_once, [(args.look_every, look)])


def _fresh(words: Path, size: int, shape: Sequence[str]) -> tuple[dict[str, Any], Any]:
    document = clip.description(vocab_size(words), size)
    with_values(document["model_cfg"], shape)
    return document, clip.build(document)


def _begun(checkpoint: Path) -> tuple[dict[str, Any], Any]:
    """A checkpoint's ranker, how it is described and itself; ConfigError where it has none."""
    found = open_checkpoint(checkpoint)
    if found.preset.clip is None:
        raise ConfigError(f"--init: {checkpoint} has no CLIP that re-ranks")
    return load_described(found.preset.clip, found.folder)


if __name__ == "__main__":
    main()
