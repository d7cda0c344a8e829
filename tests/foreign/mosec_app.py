"""The engine behind mosec. Run by the Python of its own environment, with `--port`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mosec

from tests.foreign.batch_engine import BATCH_WAIT_S, MAX_REQUESTS, Answer, BatchEngine


class Drawing(mosec.Worker):  # type: ignore[misc]  # it is not installed where types are checked
    """Requests come as JSON, and go so."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = BatchEngine.from_environment()

    def forward(self, bodies: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """A batch."""
        return self.engine.draw(bodies)


if __name__ == "__main__":
    server = mosec.Server()
    wait_ms = round(BATCH_WAIT_S * 1000)
    server.append_worker(Drawing, max_batch_size=MAX_REQUESTS, max_wait_time=wait_ms)
    server.run()
