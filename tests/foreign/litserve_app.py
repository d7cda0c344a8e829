"""The engine behind LitServe. Run by the Python of its own environment, with a port."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import litserve

from tests.foreign.batch_engine import BATCH_WAIT_S, MAX_REQUESTS, Answer, BatchEngine


class Drawing(litserve.LitAPI):  # type: ignore[misc]  # it is not installed where types are checked
    """Requests come as JSON, and go so."""

    def setup(self, device: str) -> None:
        """In the worker's process."""
        del device
        self.engine = BatchEngine.from_environment()

    def predict(self, bodies: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """A batch."""
        return self.engine.draw(bodies)


if __name__ == "__main__":
    api = Drawing(max_batch_size=MAX_REQUESTS, batch_timeout=BATCH_WAIT_S)
    server = litserve.LitServer(api, accelerator="cpu", timeout=600)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
