"""Train stage 2, the transformer over codes: `python -m models.train.stage2 --resume`.

Teacher-forced cross-entropy on the engine's own class, with the text dropped at times. Several
worker processes share a batch and average their gradients, which a busy machine bears better than
threads do. Knows pictures only as codes.
"""

from __future__ import annotations

import os
import tempfile
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from models.configs import SamplingDefaults
from models.pipeline import LoadOptions, Pipeline
from models.stage2.transformer import Transformer
from models.train import codes as code_table
from models.train.data.emoji import DataSet, open_data
from models.train.loop.learner import Learner
from models.train.loop.muon import optimisers
from models.train.loop.run import Run, Schedule, arguments, span, train
from models.train.sheet import PROMPTS, write_sheet
from models.train.start import preset_of, stage1_of, stage2_of, tokenizer_of

_LOOKED_UP = ("tok_emb", "pos_emb", "head", "sos")
_TEXT_DROPPED = 0.1


@dataclass(frozen=True, slots=True)
class Stage2Plan:
    """The recipe's numbers."""

    schedule: Schedule
    muon_lr: float | None = 0.02
    adam_lr: float = 2e-3
    text_weight: float = 0.0
    clip_norm: float | None = None
    average: float = 0.998


def plan_of(steps: int, is_fine_tuning: bool) -> Stage2Plan:
    """From scratch by Muon; a checkpoint goes on as minDALL-E's authors fine-tune it."""
    if is_fine_tuning:
        return Stage2Plan(Schedule(steps, warm_up=1, floor=0.0), None, 1e-4, clip_norm=4.0)
    return Stage2Plan(Schedule(steps, warm_up=min(100, 1 + steps // 15)))


class Stage2Trainer:
    """The update of a run; one per worker, all equal after each step."""

    def __init__(self, model: Transformer, run: Run, plan: Stage2Plan) -> None:
        self.model = model
        self.run = run
        self.plan = plan
        self.learner = Learner(
            model,
            optimisers(model, plan.muon_lr, plan.adam_lr, _LOOKED_UP),
            plan.schedule,
            plan.average,
        )

    def step(self, step: int, prefix: Tensor, codes: Tensor) -> dict[str, float]:
        """One update on this worker's share of the batch."""
        loss = self.model.loss(prefix, codes, self.plan.text_weight)
        self.learner.backward(loss)
        total = average_gradients(self.model, loss.detach())
        if self.plan.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip_norm)
        self.learner.advance(step)
        return {"loss": total}


def average_gradients(model: nn.Module, loss: Tensor) -> float:
    """Make all workers' gradients their mean, in one message; returns the mean loss."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return float(loss)
    weights = [weight for weight in model.parameters() if weight.grad is not None]
    flat = torch.cat([weight.grad.flatten() for weight in weights] + [loss.view(1)])  # type: ignore[union-attr]  # filtered above
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    sizes = [weight.numel() for weight in weights]
    for weight, part in zip(weights, torch.split(flat[:-1], sizes), strict=True):
        weight.grad.copy_(part.view_as(weight))  # type: ignore[union-attr]  # filtered above
    return float(flat[-1])


@dataclass(frozen=True, slots=True)
class Batches:
    """Draws captions and codes; the same for every worker, each takes its share."""

    data: DataSet
    table: code_table.CodeTable
    to_ids: Callable[[str], list[int]]
    size: int
    shares: Mapping[str, float] = field(default_factory=lambda: code_table.SHARES)

    def draw(self, run: Run, step: int, worker: int, workers: int) -> tuple[Tensor, Tensor]:
        """Prefix ids [b, N] and codes [b, T] of this worker."""
        rng = run.rng(step)
        ids, rows = [], []
        for _ in range(self.size):
            row = self.table.draw(rng, self.shares)
            text = self.data.caption(self.table.variants[row], rng)
            ids.append(self.to_ids("" if rng.random() < _TEXT_DROPPED else text))
            rows.append(row)
        mine = slice(worker, None, workers)
        return torch.tensor(ids[mine]), self.table.codes[rows[mine]]


def _ids_by(args: Namespace, data: DataSet) -> Callable[[str], list[int]]:
    """From a caption to prefix ids; for a class model the caption is the class's number."""
    if args.prefix == "text":
        tokenizer = tokenizer_of(args, data)
        return lambda text: tokenizer.encode(text)[0]
    return lambda text: [int(text or 0) if args.prefix == "class" else 0]


def _work(worker: int, args: Namespace, store: str) -> None:
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    if args.workers > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{store}", rank=worker, world_size=args.workers
        )
    data = open_data(args.data, args.art, preset_of(args.checkpoint).size[0])
    batches = Batches(data, code_table.load(args.codes), _ids_by(args, data), args.batch)
    if args.shares:
        pairs = (pair.split("=") for pair in args.shares)
        batches = replace(batches, shares={name: float(share) for name, share in pairs})
    plan = plan_of(args.steps, args.checkpoint is not None)
    muon_lr = plan.muon_lr and plan.muon_lr * args.rate
    plan = replace(plan, muon_lr=muon_lr, adam_lr=plan.adam_lr * args.rate)
    trainer = Stage2Trainer(stage2_of(args), Run(args.run, args.seed), plan)
    if args.resume and (state := trainer.run.load()) is not None:
        trainer.learner.restore(state)

    def step_once(step: int) -> dict[str, float]:
        return trainer.step(step, *batches.draw(trainer.run, step, worker, args.workers))

    steps = span(args, trainer.learner.next_step)
    if worker > 0:
        for step in steps:
            step_once(step)
        return
    chores = [(args.save_every, lambda _: trainer.run.save(trainer.learner.state()))]
    chores.append((200, lambda _: trainer.run.plot("loss")))
    if args.prefix == "text" and args.stage1:
        chores.append((600, lambda _: _look(args, trainer, data)))
    train(trainer.run, steps, step_once, chores)


def _look(args: Namespace, trainer: Stage2Trainer, data: DataSet) -> None:
    """Draw a few prompts with the averaged weights into the run's samples.png."""
    model = Transformer(trainer.model.config)
    model.load_state_dict(trainer.learner.average.weights)
    pipeline = Pipeline(
        preset=preset_of(args.checkpoint),
        options=LoadOptions(),
        stage1=stage1_of(args.checkpoint, args.stage1).eval(),
        stage2=model.eval().requires_grad_(False),
        tokenizer=tokenizer_of(args, data),
        ranker=None,
    )
    sampling = SamplingDefaults(0.7, None, None, 3)
    write_sheet(pipeline, trainer.run.folder / "samples.png", sampling, PROMPTS[::2])


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("Train stage 2 (the transformer) on encoded pictures.", "runs/stage2", 3000)
    parser.add_argument("--codes", type=Path, default=Path("runs/codes"))
    parser.add_argument("--workers", type=int, default=1, help="processes that share a batch")
    parser.add_argument("--stage1", type=Path, help="a stage-1 run, to draw samples with")
    parser.add_argument("--start", type=Path, help="begin with another run's averaged weights")
    parser.add_argument("--rate", type=float, default=1.0, help="times the recipe's learning rate")
    parser.add_argument("--shares", nargs="*", default=(), help="such as plain=0.5 colour=0.5")
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/tokenizer"))
    parser.add_argument("--prefix", choices=("text", "class", "none"), default="text")
    parser.add_argument("--classes", type=int, default=0, help="how many, with --prefix class")
    args = parser.parse_args(argv)
    if args.workers == 1:
        _work(0, args, "")
        return
    with tempfile.TemporaryDirectory() as folder:
        store = os.path.join(folder, "store")
        spawn(_work, (args, store), nprocs=args.workers)  # type: ignore[no-untyped-call]  # torch has no types for it


if __name__ == "__main__":
    main()
