"""Programs for torchrun: a test's own file, run as several processes that train together."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

from models.train.loop import processes

_LIMIT_S = 1800  # of the widest shape on a busy machine
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}


def torchrun(count: int, module: str, *arguments: str) -> list[str]:
    """The command that starts so many processes of a module."""
    many = ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m", "--"]
    return [sys.executable, "-m", *many, module, *arguments]


def run_program(module: str, out: Path, *arguments: str, count: int) -> Path:
    """Run a module to its end; it writes `out`."""
    command = torchrun(count, module, str(out), *arguments)
    done = subprocess.run(
        command, env=ENVIRONMENT, timeout=_LIMIT_S, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return out


def as_program(work: Callable[..., None]) -> None:
    """What such a module does when it is run, with `out` and its other arguments."""
    parser = ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("arguments", nargs="*")
    parser.set_defaults(workers=1)

    def start(args: Namespace) -> None:
        work(args.out, *args.arguments)

    processes.run(start, parser, "", None)
