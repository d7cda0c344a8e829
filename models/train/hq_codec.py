"""Train the HQ family's codec on scenes: `python -m models.train.hq_codec --resume`.

Two workers of one thread each bear a busy machine better than one of two. Knows no text.
"""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from itertools import count, islice
from random import Random

import torch
from torch import Tensor

from models.stage1.hq_vae import HQVAE
from models.train.data.data_set import Variant
from models.train.data.scenes.scene_set import SceneSet, open_scenes
from models.train.loop import workers
from models.train.loop.run import Run, Schedule, save_grid, train
from models.train.options import arguments, prepare, steps_to_do
from models.train.recipes.hq_vae import SHAPE, HQVAEPlan, HQVAETrainer, evaluate

_NUM_SHOWN = 24
_NUM_TO_START_CODES = 192  # pictures for k-means: a level has at least 64 vectors in each


def judged_pictures(judge: SceneSet, number: int) -> dict[str, Tensor]:
    """What a run is judged by: art that training never shows, alone and in scenes of its own."""
    images = Random("judged").sample(judge.images, min(number, len(judge.images)))
    drawn = map(partial(judge.scene, 1), count())
    several = (scene for scene in drawn if judge.kind(scene) not in {"plain", "varied"})
    chosen = {"single": map(Variant, images), "scene": islice(several, number)}
    return {name: torch.stack(list(map(judge.render, found))) for name, found in chosen.items()}


def _work(worker: int, args: Namespace) -> None:
    prepare(args)
    torch.manual_seed(args.seed)
    data, run = open_scenes(args.art, SHAPE.resolution), Run(args.run, args.seed)
    trainer = HQVAETrainer(HQVAE(SHAPE), run, HQVAEPlan(Schedule(args.steps)))
    steps = steps_to_do(args, run, trainer.learner)

    def pictures(step: int, number: int) -> list[Tensor]:
        rng = run.rng(step)
        return [data.render(data.draw(rng)) for _ in range(number)]

    def step_once(step: int) -> dict[str, float]:
        if step == trainer.plan.unquantised:
            start = torch.stack(pictures(-1, _NUM_TO_START_CODES))
            trainer.start_codes(start, run.torch_rng(-1))
        return trainer.step(step, torch.stack(pictures(step, args.batch)[worker :: args.workers]))

    if worker > 0:
        for step in steps:
            step_once(step)
        return
    judge = open_scenes(args.art, SHAPE.resolution, is_judge=True)
    judged = judged_pictures(judge, args.judged)
    save = (args.save_every, lambda _: run.save(trainer.learner.state()))
    look = (args.look_every, lambda step: _look(trainer, judged, step))
    train(run, steps, step_once, [save, look])


def _look(trainer: HQVAETrainer, pictures: dict[str, Tensor], step: int) -> None:
    """Log what the averaged weights reach, and lay originals and reconstructions side by side."""
    run, model = trainer.run, HQVAE(trainer.model.config)
    model.load_state_dict(trainer.learner.average.weights)
    pairs = []
    for name, images in pictures.items():
        values, made = evaluate(model, images)
        run.log(step, **{f"{name}_{key}": value for key, value in values.items()})
        pairs.append(torch.stack([images[:_NUM_SHOWN], made[:_NUM_SHOWN]], dim=1).flatten(0, 1))
    save_grid(torch.cat(pairs) * 0.5 + 0.5, 12, run.folder / "grid.png")
    run.plot("loss", "perplexity_0", "perplexity_1", "single_psnr", "scene_psnr")


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("Train the HQ family's codec on scenes.", "runs/hq-codec", 12000)
    parser.add_argument("--look-every", type=int, default=500, help="steps between judgements")
    parser.add_argument("--judged", type=int, default=96, help="pictures of each sort to judge by")
    parser.add_argument("--workers", type=int, default=1, help="processes that share a batch")
    workers.run(_work, parser.parse_args(argv))


if __name__ == "__main__":
    main()
