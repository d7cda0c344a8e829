"""Train stage 2, the transformer over codes: `python -m models.train.stage2 --resume`.

Pictures are codes here, made beforehand by `codes`; texts are drawn anew at each step and left out
at times.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from models.configs import SamplingDefaults
from models.pipeline import LoadOptions, Pipeline
from models.stage2.transformer import Transformer
from models.train.data.code_table import CodeTable
from models.train.data.data_set import DataSet
from models.train.data.emoji.prompts import sheet_prompts
from models.train.data.sources import open_data
from models.train.loop import workers
from models.train.loop.run import Run, train
from models.train.options import arguments, prepare, steps_to_do
from models.train.recipes.transformer import TransformerTrainer, plan_of
from models.train.sheet import write_sheet
from models.train.start import preset_of, stage1_of, stage2_of, tokenizer_of

_TEXT_DROPPED = 0.1


@dataclass(frozen=True, slots=True)
class Batches:
    """Draws captions and codes; the same for every worker, each takes its share."""

    data: DataSet
    table: CodeTable
    to_ids: Callable[[str], list[int]]
    size: int
    shares: Mapping[str, float]

    def draw(self, run: Run, step: int) -> tuple[Tensor, Tensor]:
        """Prefix ids [b, N] and codes [b, T] of this worker."""
        rng = run.rng(step)
        ids, rows = [], []
        for _ in range(self.size):
            row = self.table.draw(rng, self.shares)
            text = self.data.caption(self.table.variants[row], rng)
            ids.append(self.to_ids("" if rng.random() < _TEXT_DROPPED else text))
            rows.append(row)
        worker, num_workers = workers.place()
        mine = slice(worker, None, num_workers)
        return torch.tensor(ids[mine]), self.table.codes[rows[mine]]


def _batches(args: Namespace, data: DataSet) -> Batches:
    pairs = (pair.split("=") for pair in args.shares)
    shares = {name: float(share) for name, share in pairs} or data.shares
    table = CodeTable.load(args.codes, data)
    return Batches(data, table, _ids_by(args, data), args.batch, shares)


def _ids_by(args: Namespace, data: DataSet) -> Callable[[str], list[int]]:
    """From a caption to prefix ids; for a class model the caption is the class's number."""
    if args.prefix == "text":
        tokenizer = tokenizer_of(args, data)
        return lambda text: tokenizer.encode(text)[0]
    return lambda text: [int(text or 0) if args.prefix == "class" else 0]


def _trainer(args: Namespace) -> TransformerTrainer:
    plan = plan_of(args.steps, args.checkpoint is not None)
    muon_lr = plan.muon_lr and plan.muon_lr * args.rate
    plan = replace(plan, muon_lr=muon_lr, adam_lr=plan.adam_lr * args.rate)
    return TransformerTrainer(stage2_of(args), plan)


def _work(worker: int, args: Namespace) -> None:
    prepare(args)
    data = open_data(args.data, args.art, preset_of(args.checkpoint).size[0])
    batches, run, trainer = _batches(args, data), Run(args.run, args.seed), _trainer(args)
    steps = steps_to_do(args, run, trainer.learner)

    def step_once(step: int) -> dict[str, float]:
        return trainer.step(step, *batches.draw(run, step))

    if worker > 0:
        for step in steps:
            step_once(step)
        return
    chores = [(args.save_every, lambda _: run.save(trainer.learner.state()))]
    chores.append((200, lambda _: run.plot("loss")))
    if args.prefix == "text" and args.stage1:
        chores.append((600, lambda _: _look(args, run, trainer, data)))
    train(run, steps, step_once, chores)


def _look(args: Namespace, run: Run, trainer: TransformerTrainer, data: DataSet) -> None:
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
    write_sheet(pipeline, run.folder / "samples.png", sampling, sheet_prompts()[::2])


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
    workers.run(_work, parser.parse_args(argv))


if __name__ == "__main__":
    main()
