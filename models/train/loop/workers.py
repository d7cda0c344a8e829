"""Processes that train one model together: each takes its share of a batch, all stay equal.

A busy machine bears them better than threads: a parallel region waits for its slowest thread, these
wait for each other once per step. Knows no model.
"""

from __future__ import annotations

import os
import signal
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from threading import Event

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

Work = Callable[[int, Namespace], None]  # of one worker, by its number


def run(work: Work, args: Namespace) -> None:
    """Do the work in `args.workers` processes, with one in this process."""
    if args.workers == 1:
        work(0, args)
        return
    with tempfile.TemporaryDirectory() as folder:
        store = os.path.join(folder, "store")
        context = spawn(_joined, (work, args, store), nprocs=args.workers, join=False)  # type: ignore[no-untyped-call]  # torch has no types for it
        with _on_sigterm(lambda: [process.terminate() for process in context.processes]):
            while not context.join():
                pass


@contextmanager
def terminated() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM has come, which doesn't end this process meanwhile."""
    told = Event()
    with _on_sigterm(told.set):
        yield told.is_set


@contextmanager
def _on_sigterm(then: Callable[[], object]) -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, lambda *_: then())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _joined(worker: int, work: Work, args: Namespace, store: str) -> None:
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=worker,
        world_size=args.workers,
        timeout=timedelta(days=7),  # a run that was paused goes on
    )
    try:
        work(worker, args)
    finally:
        dist.destroy_process_group()  # its threads must not outlive the process


def place() -> tuple[int, int]:
    """This worker's number, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def is_any(is_so: bool) -> bool:
    """Whether it is so for any worker; all get the same answer."""
    return bool(summed([torch.tensor(float(is_so))])[0])


def summed(parts: Sequence[Tensor]) -> list[Tensor]:
    """The sum over all workers of each part, in one message."""
    if place()[1] == 1:
        return list(parts)
    flat = torch.cat([part.flatten() for part in parts])
    dist.all_reduce(flat)
    pieces = torch.split(flat, [part.numel() for part in parts])
    return [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]


def joined_rows(rows: Tensor) -> Tensor:
    """All workers' rows, each as many, in the workers' order."""
    num_workers = place()[1]
    if num_workers == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(num_workers)]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def average_gradients(model: nn.Module, loss: Tensor) -> float:
    """Make all workers' gradients their mean; returns the mean loss."""
    num_workers = place()[1]
    if num_workers == 1:
        return float(loss)
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    *means, mean_loss = (total / num_workers for total in summed([*gradients, loss]))
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean)
    return float(mean_loss)
