"""Train stage 2, the transformer over codes: `python -m models.train.stage2 --resume`.

Teacher-forced cross-entropy on the engine's own class, with the text dropped at times. Several
worker processes share a batch and average their gradients, which a busy machine bears better than
threads do. Knows pictures only as codes.
"""

from __future__ import annotations

import os
import tempfile
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn

from models.presets import get_preset
from models.tokenizer import Tokenizer
from models.train import codes as code_table
from models.train.art import load_art
from models.train.bpe import load_or_learn
from models.train.data import EmojiSet
from models.train.muon import optimisers
from models.train.run import Average, Run, Schedule, State, arguments, train
from models.transformer import Transformer

_LOOKED_UP = ("tok_emb", "pos_emb", "head", "sos")
_TOKENIZER = Path("runs/tokenizer")


@dataclass(frozen=True, slots=True)
class Stage2Plan:
    """The recipe's numbers."""

    schedule: Schedule
    muon_lr: float = 0.02
    adam_lr: float = 2e-3
    text_dropped: float = 0.1
    text_weight: float = 0.0
    average: float = 0.998


def initialise(model: nn.Module, seed: int) -> None:
    """The reference's start: N(0, 0.02) for matrices and embeddings, zero biases, unit norms."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02, generator=generator)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def loss_of(model: Transformer, prefix: Tensor, codes: Tensor, text_weight: float = 0.0) -> Tensor:
    """Mean cross-entropy of codes [B, T] after prefix ids [B, N], in nats.

    With `text_weight` w it is (1 - w) of that and w of the text's, as DALL-E has it.
    """
    image, text = model(prefix, codes)
    loss = F.cross_entropy(image.flatten(0, 1), codes.flatten())
    if text is None or text_weight == 0:
        return loss
    text_loss = F.cross_entropy(text.flatten(0, 1), prefix[:, 1:].flatten())
    return (1 - text_weight) * loss + text_weight * text_loss


class Stage2Trainer:
    """Model, optimisers and averages of a run; one per worker, all equal after each step."""

    def __init__(self, model: Transformer, run: Run, plan: Stage2Plan) -> None:
        self.model = model
        self.run = run
        self.plan = plan
        self.optimisers = optimisers(model, plan.muon_lr, plan.adam_lr, _LOOKED_UP)
        self.average = Average(model, plan.average)
        self.next_step = 0

    def step(self, step: int, prefix: Tensor, codes: Tensor) -> dict[str, float]:
        """One update on this worker's share of the batch."""
        for optimiser in self.optimisers:
            self.plan.schedule.apply(optimiser, step)
            optimiser.zero_grad(set_to_none=True)
        loss = loss_of(self.model, prefix, codes, self.plan.text_weight)
        loss.backward()
        total = average_gradients(self.model, loss.detach())
        for optimiser in self.optimisers:
            optimiser.step()
        self.average.update(self.model, step)
        self.next_step = step + 1
        return {"loss": total}

    def state(self) -> State:
        """Everything that a resumed run needs."""
        return {
            "step": self.next_step,
            "model": self.model.state_dict(),
            "average": self.average.weights,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }

    def restore(self, state: State) -> None:
        """Take up a state."""
        self.next_step = int(state["step"])  # type: ignore[call-overload]  # a checkpoint's values are objects
        self.model.load_state_dict(state["model"])  # type: ignore[arg-type]  # as above
        self.average.weights = state["average"]  # type: ignore[assignment]  # as above
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):  # type: ignore[call-overload]  # as above
            optimiser.load_state_dict(saved)


def average_gradients(model: nn.Module, loss: Tensor) -> float:
    """Make all workers' gradients their mean, in one message; returns the mean loss."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return float(loss)
    weights = [weight for weight in model.parameters() if weight.grad is not None]
    flat = torch.cat([weight.grad.flatten() for weight in weights] + [loss.view(1)])  # type: ignore[union-attr]  # filtered above
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    sizes = [weight.numel() for weight in weights]
    for weight, part in zip(weights, flat[:-1].split(sizes), strict=True):
        weight.grad.copy_(part.view_as(weight))  # type: ignore[union-attr]  # filtered above
    return float(flat[-1])


@dataclass(frozen=True, slots=True)
class Batches:
    """Draws captions and codes; the same for every worker, each takes its share."""

    data: EmojiSet
    table: code_table.CodeTable
    tokenizer: Tokenizer
    size: int
    text_dropped: float

    def draw(self, run: Run, step: int, worker: int, workers: int) -> tuple[Tensor, Tensor]:
        """Text ids [b, N] and codes [b, T] of this worker."""
        rng = run.rng(step)
        ids, rows = [], []
        for _ in range(self.size):
            row = self.table.draw(rng)
            text = self.data.caption(self.table.variants[row], rng)
            ids.append(self.tokenizer.encode("" if rng.random() < self.text_dropped else text)[0])
            rows.append(row)
        mine = slice(worker, None, workers)
        return torch.tensor(ids[mine]), self.table.codes[rows[mine]]


def _work(worker: int, args: Namespace, store: str) -> None:
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    if args.workers > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{store}", rank=worker, world_size=args.workers
        )
    data = EmojiSet(load_art(args.art))
    plan = Stage2Plan(Schedule(args.steps, warm_up=100))
    tokenizer = load_or_learn(data, _TOKENIZER)
    table = code_table.load(args.codes)
    batches = Batches(data, table, tokenizer, args.batch, plan.text_dropped)
    model = Transformer(get_preset("emoji").stage2)
    initialise(model, args.seed)
    trainer = Stage2Trainer(model, Run(args.run, args.seed), plan)
    if args.resume and (state := trainer.run.load()) is not None:
        trainer.restore(state)

    def step_once(step: int) -> dict[str, float]:
        return trainer.step(step, *batches.draw(trainer.run, step, worker, args.workers))

    steps = range(trainer.next_step, args.steps)
    if worker > 0:
        for step in steps:
            step_once(step)
        return
    chores = [(100, lambda _: trainer.run.save(trainer.state()))]
    chores.append((200, lambda _: trainer.run.plot("loss")))
    train(trainer.run, steps, step_once, chores)


def main() -> None:
    """The command."""
    parser = arguments("Train stage 2 (the transformer) on encoded pictures.", "runs/stage2", 3000)
    parser.add_argument("--codes", type=Path, default=Path("runs/codes"))
    parser.add_argument("--workers", type=int, default=1, help="processes that share a batch")
    args = parser.parse_args()
    if args.workers == 1:
        _work(0, args, "")
        return
    with tempfile.TemporaryDirectory() as folder:
        store = os.path.join(folder, "store")
        mp.spawn(_work, (args, store), nprocs=args.workers)  # type: ignore[no-untyped-call]  # torch's


if __name__ == "__main__":
    main()
