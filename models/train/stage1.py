"""Train stage 1, the VQGAN codec: `python -m models.train.stage1 --resume`. Knows no text."""

from __future__ import annotations

import torch

from models.stage1.vqgan import VQGAN
from models.train.data.data_set import Variant
from models.train.data.sources import open_data
from models.train.loop.run import Run, save_grid, train
from models.train.options import arguments, prepare, steps_to_do
from models.train.recipes.vqgan import VQGANTrainer, evaluate, plan_of
from models.train.start import stage1_of


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("Train stage 1 (the VQGAN) on the emoji data set.", "runs/stage1", 4000)
    args = parser.parse_args(argv)
    prepare(args)
    model = stage1_of(args.checkpoint)
    data = open_data(args.data, args.art, model.config.resolution)
    run = Run(args.run, args.seed)
    trainer = VQGANTrainer(model, run, plan_of(args.steps, args.checkpoint is not None))
    steps = steps_to_do(args, run, trainer.learner)
    held_images = torch.stack([data.render(Variant(image)) for image in data.held_out[:256]])

    def step_once(step: int) -> dict[str, float]:
        rng = run.rng(step)
        return trainer.step(
            step, torch.stack([data.render(data.draw(rng)) for _ in range(args.batch)])
        )

    def look(step: int) -> None:
        judged = VQGAN(model.config)
        judged.load_state_dict(trainer.learner.average.weights)
        values, made = evaluate(judged, held_images)
        run.log(step, **values)
        run.plot("loss", "perplexity", "val_psnr", "val_codes")
        pairs = torch.stack([held_images[:40], made[:40]], dim=1).flatten(0, 1)
        save_grid(pairs * 0.5 + 0.5, 16, run.folder / "grid.png")

    chores = [(args.save_every, lambda _: run.save(trainer.learner.state())), (200, look)]
    train(run, steps, step_once, chores)


if __name__ == "__main__":
    main()
