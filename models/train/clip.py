"""Train the small CLIP that re-ranks: `python -m models.train.clip --resume`."""

from __future__ import annotations

from pathlib import Path

from models.train.data.emoji.emoji_set import Selection
from models.train.data.sources import open_data
from models.train.data.tokens import load_or_learn, vocab_size
from models.train.loop.run import Run, Schedule, train
from models.train.options import arguments, prepare, steps_to_do
from models.train.recipes import clip


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("Train the CLIP that re-ranks the emoji model's pictures.", "runs/clip", 800)
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/tokenizer"))
    parser.add_argument("--part", choices=("all", "even", "odd"), default="all")
    parser.add_argument("--size", type=int, default=64, help="pixels a side that it looks at")
    args = parser.parse_args(argv)
    prepare(args)
    data = open_data(args.data, args.art, args.size, Selection(part=args.part))
    tokenizer = load_or_learn(data, args.tokenizer)
    document = clip.description(vocab_size(args.tokenizer), args.size)
    run = Run(args.run, args.seed)
    trainer = clip.ClipTrainer(clip.build(document), Schedule(args.steps))
    steps = steps_to_do(args, run, trainer.learner)

    def step_once(step: int) -> dict[str, float]:
        images, ids, targets = clip.batch(data, tokenizer, args.batch, run.rng(step))
        disturbed = clip.disturb(images, run.torch_rng(step))
        return trainer.step(step, clip.prepare(disturbed), ids, targets)

    def look(step: int) -> None:
        judged = clip.build(document)
        judged.load_state_dict(trainer.learner.average.weights)
        run.log(step, **clip.retrieval(judged.eval(), data, tokenizer))
        run.plot("loss", "val_top1", "val_top5")
        clip.save(run.folder / "clip", trainer.learner.average.weights, document)

    train(run, steps, step_once, (args.save_every, trainer.learner.state), [(50, look)])


if __name__ == "__main__":
    main()
