"""A TCP load balancer in a thread: what stands before API processes, as a Kubernetes Service does.

New connections go round the backends; those that are open stay where they are.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress


class Balancer:
    """`backends` are ports on this machine; set it anew to route new connections elsewhere."""

    def __init__(self) -> None:
        self.backends: tuple[int, ...] = ()
        self.port = 0
        self._num_connections = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="balancer", daemon=True)

    def start(self) -> None:
        """Listen on a free port."""
        self._thread.start()
        assert self._started.wait(10)

    def stop(self) -> None:
        """Close."""
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._ending.wait()
        server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backends = self.backends
        self._num_connections += 1
        port = backends[self._num_connections % len(backends)]
        try:
            upstream, downstream = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pipe(reader, downstream), _pipe(upstream, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
