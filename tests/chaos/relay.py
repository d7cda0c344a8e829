"""A way to a server through which nothing may pass for a while: a partition of the network.

Connections stay open and nothing is refused, as when packets are dropped. Knows no protocol.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.servers import free_port

_BLOCK_BYTES = 65_536


class Relay:
    """Listens on `port` of this machine; what comes goes on to `target`. End it with `stop`."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._passes = threading.Event()
        self._passes.set()
        self._server = socket.create_server(("127.0.0.1", self.port))
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def _run(self, work: Callable[..., None], *given: socket.socket) -> threading.Thread:
        thread = threading.Thread(target=work, args=given, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    @contextmanager
    def parted(self) -> Iterator[None]:
        """Nothing passes, in neither direction."""
        self._passes.clear()
        try:
            yield
        finally:
            self._passes.set()

    def stop(self) -> None:
        """Take no more connections, and wait until those that are there have ended."""
        self._passes.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                near, _ = self._server.accept()
                self._run(self._join, near)

    def _join(self, near: socket.socket) -> None:
        target = ("127.0.0.1", self._target)
        with near, suppress(OSError), socket.create_connection(target, timeout=5) as far:
            far.settimeout(None)
            back = self._run(self._carry, far, near)
            self._carry(near, far)
            back.join()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_BLOCK_BYTES):
                self._passes.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
