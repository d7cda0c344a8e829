"""Other serving frameworks at work on our engine, and ourselves, each behind an address.

What each one is asked, and how its process is started and ended. Knows no load.
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.stack import serving
from tests.foreign.environments import ROOT, programs
from tests.servers import free_port

_START_S = 600.0  # a machine that has other work imports torch for minutes
_END_S = 30.0


@dataclass(frozen=True)
class Engine:
    """What all of them serve."""

    model: str
    num_rows: int
    num_threads: int


@dataclass(frozen=True)
class Address:
    """Where to post a request's body, and how to read the picture from the answer."""

    url: str
    picture: Callable[[httpx.Response], bytes] = field(
        default=lambda answer: base64.b64decode(answer.json()["b64_json"])
    )


@dataclass(frozen=True)
class Rival:
    """A framework: its name, what pip installs, our file that it serves, its path, and the options
    that its port is the last of.
    """

    name: str
    requirement: str
    module: str
    path: str
    options: tuple[str, ...] = ()

    @contextmanager
    def at_work(self, folder: Path, engine: Engine) -> Iterator[Address]:
        """Its server, which has drawn a picture already."""
        python = programs(self.requirement, is_beside_us=True) / "python"
        port = free_port()
        with (folder / f"{self.name}.log").open("wb") as log:
            process = subprocess.Popen(
                [python, "-m", self.module, *self.options, str(port)],
                cwd=ROOT,
                env=_environment(engine),
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that its workers can be ended with it
            )
        address = Address(f"http://127.0.0.1:{port}{self.path}")
        try:
            _until_it_draws(address, lambda: process.poll() is None)
            yield address
        finally:
            _end(process)


def _environment(engine: Engine) -> dict[str, str]:
    own = {
        "RIVAL_MODEL": engine.model,
        "RIVAL_ROWS": str(engine.num_rows),
        "RIVAL_THREADS": str(engine.num_threads),
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    return os.environ | own


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # and what it has left
    process.wait(_END_S)


def _until_it_draws(address: Address, is_there: Callable[[], bool]) -> None:
    give_up = time.monotonic() + _START_S
    while True:
        assert is_there(), f"{address.url}: its process has ended"
        assert time.monotonic() < give_up, f"{address.url}: it does not start"
        try:
            answer = httpx.post(address.url, json=body("a cat", 1, 1), timeout=60, trust_env=False)
            if answer.is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)


def body(prompt: str, seed: int, num_candidates: int, **sampling: Any) -> dict[str, Any]:
    """Of a request; the same for all of them."""
    own = {"prompt": prompt, "seed": seed, "num_candidates": num_candidates}
    return own | {"response_format": "b64_json"} | sampling


@contextmanager
def ourselves(folder: Path, engine: Engine) -> Iterator[Address]:
    """API, worker and a Redis."""
    settings: Mapping[str, str] = {
        "OMP_NUM_THREADS": str(engine.num_threads),
        "MINDALLE_MODEL": engine.model,
        "MINDALLE_WORKER__ROWS": str(engine.num_rows),
        "MINDALLE_WORKER__THREADS": str(engine.num_threads),
        "MINDALLE_QUEUE__KEY_RATE_PER_S": "100000",
        "MINDALLE_QUEUE__KEY_BURST": "100000",
    }
    with serving(folder, settings=settings) as stack:
        address = Address(f"{stack.url}/v1/images/generations", _our_picture)
        _until_it_draws(address, lambda: stack.api.is_running)
        yield address


def _our_picture(answer: httpx.Response) -> bytes:
    return base64.b64decode(answer.json()["data"][0]["b64_json"])


RIVALS = (
    Rival("LitServe", "litserve==0.2.19", "tests.foreign.litserve_app", "/predict"),
    Rival(
        "mosec",
        "mosec==0.9.8",
        "tests.foreign.mosec_app",
        "/inference",
        ("--timeout", "600000", "--port"),  # else it gives up after 3 s
    ),
    Rival("Ray Serve", "ray[serve]==2.60.0", "tests.foreign.ray_app", "/"),
)
