"""The API process's application behind a real uvicorn, on a free port, in the test's own loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from service.api.api_state import ApiState
from service.api.app import create_app
from service.settings import Settings
from tests.servers import RedisServer

_START_S = 30.0


class LiveApi:
    """A running server: where it is, and its inside for a last look."""

    def __init__(self, app: FastAPI, port: int) -> None:
        self.app = app
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    @property
    def state(self) -> ApiState:
        """What the process holds."""
        state: ApiState = self.app.state.api
        return state

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A client of this server that leaves the environment's proxies alone."""
        return httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=20, **options)

    async def metric(self, sample: str) -> float:
        """The value of one line of /metrics."""
        async with self.client() as client:
            text = (await client.get("/metrics")).text
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return 0.0


def api_settings(server: RedisServer, **changes: object) -> Settings:
    """Settings for tests: `tiny` is the default model, sweeps come often."""
    values: dict[str, object] = {
        "model": "tiny",
        "redis": {"url": SecretStr(server.url)},
        "queue": {"sweep_interval_s": 0.05},
    }
    return Settings.model_validate(values | changes)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[LiveApi]:
    """Serve until the block ends."""
    app = create_app(settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        async with asyncio.timeout(_START_S):
            while not server.started:
                assert not running.done(), running.exception()
                await asyncio.sleep(0.01)
        try:
            yield LiveApi(app, listener.getsockname()[1])
        finally:
            server.should_exit = True
            await running
