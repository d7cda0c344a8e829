"""`mindalle serve` as a person starts it: one command, its output wherever a test sends it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from tests.servers import free_port

_START_S = 120.0
# What people type; the environment below says otherwise, and must not be heard.
_COMMAND = (
    sys.executable,
    "-m",
    "service",
    "serve",
    "--model",
    "tiny",
    "--device",
    "cpu",
    "--port",
)


class Served:
    """The running service, asked over one kept connection at a time."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    def ask(self, path: str, count: int = 1, *, method: str = "GET", body: str = "") -> list[int]:
        """The statuses of so many requests, one after the other."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        statuses = []
        for _ in range(count):
            headers = {"content-type": "application/json"} if body else {}
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()
        return statuses

    def until_ready(self) -> None:
        """Wait until pictures can be had."""
        give_up = time.monotonic() + _START_S
        while not self._is_ready():
            assert self.process.poll() is None, f"it ended with {self.process.returncode}"
            assert time.monotonic() < give_up, "it is not ready"
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            return self.ask("/readyz") == [200]
        except OSError:
            return False

    def end(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 60) -> int:
        """Send one signal and wait; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout_s)


@contextmanager
def served(
    folder: Path,
    *,
    stdout: int,
    stderr: int,
    settings: Mapping[str, str] = MappingProxyType({}),
    redirections: str = "",
) -> Iterator[Served]:
    """Started with `tiny`, its data in the folder; gone at the end.

    `redirections` are a shell's, as `>&-`.
    """
    port = free_port()
    environment = {
        "OMP_NUM_THREADS": "1",
        "MINDALLE_MODEL": "none of this name",
        "MINDALLE_DATA_DIR": str(folder),
        "MINDALLE_API__PORT": "1",
        "MINDALLE_WORKER__METRICS_PORT": str(free_port()),
        "MINDALLE_WORKER__THREADS": "1",
        **settings,
    }
    shell = ("sh", "-c", f'exec "$@" {redirections}', "sh") if redirections else ()
    process = subprocess.Popen(
        [*shell, *_COMMAND, str(port)], env=os.environ | environment, stdout=stdout, stderr=stderr
    )
    try:
        yield Served(process, port)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(30)
