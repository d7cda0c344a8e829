"""The API for tests that block: it serves, with painters, in a loop on a thread of its own."""

from __future__ import annotations

import asyncio
import threading

from pydantic import SecretStr
from redis.asyncio import Redis

from tests.servers import RedisServer
from tests.service.live_api import api_settings, serving
from tests.service.painter import CLASS_CARD, TEXT_CARD, UNCOND_CARD, painting


class BackgroundApi:
    """The API and painters for all kinds of prompt, in a loop on a thread of their own."""

    def __init__(self, server: RedisServer, api_key: str) -> None:
        self._server = server
        self._api_key = api_key
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self.url = ""

    async def _run(self) -> None:
        redis = Redis.from_url(self._server.url)
        roomy = {"key_rate_per_s": 100_000, "key_burst": 1_000_000}
        settings = api_settings(self._server, queue=roomy, api_keys=SecretStr(self._api_key))
        async with (
            serving(settings) as api,
            painting(redis, TEXT_CARD),
            painting(redis, CLASS_CARD),
            painting(redis, UNCOND_CARD),
        ):
            self.url = api.url
            self._started.set()
            await self._stop.wait()
        await redis.aclose()

    def start(self) -> None:
        """Return when it serves."""
        self._thread.start()
        assert self._started.wait(20)

    def stop(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        self._loop.close()
