"""A program for torchrun: a prior learns drawn codes, and writes its losses and checkpoints.

Arguments: the shape, ddp or fsdp, adamw or muon, parts of a batch, the last step, and the file
whose folder is the run's, which it goes on with.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from models.stage2.transformer import Transformer
from models.train.loop import checkpoints
from models.train.loop.checkpoints import Checkpoints
from models.train.loop.engine import Engine
from models.train.loop.processes import is_first, my_share
from models.train.loop.run import Run
from models.train.loop.schedule import Schedule
from models.train.recipes import transformer
from models.train.recipes.prior import Examples, PriorPlan, PriorTrainer
from models.train.start import initialise
from tests.models.mindalle import shape
from tests.models.train.torchrun import as_program

BATCH = 32
SHAPES = {
    "tiny": shape("tiny"),
    # As wide as minDALL-E, with two layers and small vocabularies.
    "wide": replace(
        shape("tiny"), embed_dim=1536, n_heads=24, n_layers=2, ctx_len_img=16, ctx_len_txt=8
    ),
}


def examples(name: str, step: int, batch: int) -> Examples:
    """Drawn by the step alone."""
    config, rng = SHAPES[name], torch.Generator().manual_seed(step)
    draw = [
        torch.randint(2, size, (batch, length), generator=rng)
        for size, length in (
            (config.vocab_size_txt, config.ctx_len_txt),
            (config.vocab_size_img, config.ctx_len_img),
        )
    ]
    return Examples(*draw)


def learn(out: Path, name: str, mode: str, optimiser: str, parts: str, until: str) -> None:
    """Go on with the run in `out`'s folder until a step, and write each step's loss to `out`."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    model = Transformer(SHAPES[name])
    initialise(model, 0)
    muon_lr, lr = (0.02, 2e-3) if optimiser == "muon" else (None, 3e-4)
    plan = PriorPlan(Schedule(50, warm_up=5), muon_lr, lr, clip_norm=4.0, accumulate=int(parts))
    trainer = PriorTrainer(
        model,
        None,
        Run(out.parent, 0),
        plan,
        transformer.loss,
        transformer.LOOKED_UP,
        engine=Engine(shards=mode == "fsdp", recomputes=mode == "fsdp"),
    )
    learner = trainer.learner
    if (last := checkpoints.latest(out.parent)) is not None:
        learner.restore(checkpoints.load(last, learner.weights_by_place()))
    losses, batch = {}, BATCH if name == "tiny" else 8
    for step in range(learner.next_step, int(until)):
        whole = examples(name, step, batch)
        mine = my_share(batch)
        part = Examples(whole.prefix[mine], whole.codes[mine])
        losses[step] = trainer.step(step, part)["loss"]
    saved = Checkpoints(out.parent, 1)
    saved.save(learner.state())
    saved.finish()
    weights = learner.average.gathered()
    if is_first():
        found = {"losses": losses, "sum": sum(float(w.abs().sum()) for w in weights.values())}
        out.write_text(json.dumps(found))


if __name__ == "__main__":
    as_program(learn)
