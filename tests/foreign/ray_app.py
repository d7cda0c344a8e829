"""The engine behind Ray Serve. Run by the Python of its own environment, with a port."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

import ray
from ray import serve

from tests.foreign.batch_engine import BATCH_WAIT_S, MAX_REQUESTS, Answer, BatchEngine


class Drawing:
    """Requests come as JSON, and go so."""

    def __init__(self) -> None:
        self.engine = BatchEngine.from_environment()

    @serve.batch(max_batch_size=MAX_REQUESTS, batch_wait_timeout_s=BATCH_WAIT_S)  # type: ignore[untyped-decorator]  # not installed where types are checked
    async def draw(self, bodies: list[Mapping[str, Any]]) -> list[Answer]:
        """A batch; meanwhile the next one gathers."""
        return await asyncio.to_thread(self.engine.draw, bodies)

    async def __call__(self, request: Any) -> Answer:
        answer: Answer = await self.draw(await request.json())
        return answer


if __name__ == "__main__":
    ray.init(include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    deployment = serve.deployment(Drawing, max_ongoing_requests=1000)
    serve.run(deployment.bind(), blocking=True)
