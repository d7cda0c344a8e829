"""The processes that train one model together: started by torchrun, on torch's process group.

Each takes its share of a batch, and no other command writes to their folder meanwhile. Knows no
model and no gradients; those are the engine's affair.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from pathlib import Path
from threading import Event
from typing import IO

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from models.errors import ConfigError

Work = Callable[[Namespace], None]  # of a command, by its arguments

PATIENCE = timedelta(days=7)  # a run that was paused goes on
_LOCK = "lock"  # a file of the folder, which stays there
_GRACE_S = "300"  # between SIGTERM and SIGKILL, where this program is what starts torchrun


def run(work: Work, parser: ArgumentParser, command: str, argv: list[str] | None) -> None:
    """Do a command's work by its arguments: here, or as one of the processes of torchrun.

    `--workers` starts torchrun on this machine. Where that is told to end, its processes have saved
    when this returns, or their grace is over.

    Raises:
        SystemExit: one of them failed, and said why.
    """
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    if "RANK" not in os.environ:
        if (number := _useful(args.workers)) > 1:
            _torchrun(number, ["models.train", command, *argv])
        else:
            work(args)
        return
    # Of both: what is on the processor, such as a loss for the log, is exchanged there.
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backends, timeout=PATIENCE)
    try:
        work(args)
    finally:
        dist.destroy_process_group()  # its threads must not outlive the process


def _useful(number: int) -> int:
    """No more processes than GPUs, where there are some: they can't share one."""
    return min(number, torch.cuda.device_count() or number)


def _torchrun(number: int, program: list[str]) -> None:
    from torch.distributed import run as torchrun  # noqa: PLC0415  it starts others, no work of ours

    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", _GRACE_S)
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    many = ["--standalone", f"--nproc-per-node={number}"]
    try:
        torchrun.main([*many, "-m", "--", *program])  # without -- it would read --run itself
    except SignalException as told:
        if told.sigval != signal.SIGTERM:
            raise SystemExit(128 + told.sigval) from None
    except ChildFailedError:
        raise SystemExit(1) from None


def alone_in(option: str) -> Callable[[Work], Work]:
    """What decorates work that no other command may do in the folder of this option meanwhile.

    All processes of the command do the work; the first of them holds a lock, which goes with it,
    however it ends. ConfigError where another command is at work there.
    """

    def alone(work: Work) -> Work:
        @wraps(work)
        def do(args: Namespace) -> None:
            folder: Path = getattr(args, option)
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / _LOCK).open("ab") as file:
                if all_of({0} if is_first() and _is_taken(file) else set()):
                    raise ConfigError(
                        f"--{option}: another command is at work in {folder}:"
                        " take another folder, or wait for its end"
                    )
                work(args)

        return do

    return alone


def _is_taken(file: IO[bytes]) -> bool:
    """Whether another process has the lock; else this one has it now.

    By lockf, whose locks forked processes don't share: loaders may outlive a killed run by seconds.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # some networks' file systems know no locks
        return False
    return False


@contextmanager
def terminated() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM has come to any process, which ends none meanwhile; all ask together."""
    told = Event()
    before = signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
        yield lambda: bool(mean(torch.tensor(float(told.is_set()))))
    finally:
        signal.signal(signal.SIGTERM, before)


def place() -> tuple[int, int]:
    """This process's number, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def is_first() -> bool:
    """Whether this is the process that writes logs and pictures."""
    return place()[0] == 0


def my_share(batch: int) -> slice:
    """Which of the pictures of a batch are this process's: an equal part, in the processes' order.

    Raises:
        ConfigError: there are no such parts.
    """
    number, count = place()
    if batch % count:
        raise ConfigError(f"--batch: {batch} can't be shared equally by {count} processes")
    share = batch // count
    return slice(number * share, (number + 1) * share)


def mean(value: Tensor) -> float:
    """The mean of one number over all processes."""
    if place()[1] == 1:
        return float(value)
    total = value.detach().clone()
    dist.all_reduce(total)
    return float(total) / place()[1]


def wait() -> None:
    """For all processes."""
    if dist.is_initialized():
        dist.barrier()


def all_of(found: set[int]) -> set[int]:
    """What all processes together have found."""
    every: list[set[int] | None] = [found]
    if dist.is_initialized():
        every = [None] * place()[1]
        dist.all_gather_object(every, found)
    return {one for some in every for one in some or ()}


def joined_rows(rows: Tensor) -> Tensor:
    """All processes' rows, each as many, in the order of the batch that they share."""
    count = place()[1]
    if count == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(count)]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)
