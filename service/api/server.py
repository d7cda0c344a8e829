"""Runs the API process: uvicorn, and an end that leaves nobody waiting.

At SIGTERM, Ctrl-C or the end of its terminal the process stays reachable but not ready: it refuses
new work with 503 while callers who wait get their images. Then it closes; who still waits gets a
503, and the job is cancelled. A second signal closes at once.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.api.api_state import ApiState
from service.api.app import create_app
from service.broker.redis_connection import check_server, connect, disconnect
from service.broker.stopping import end_signals, hurries
from service.config.listening import refusal
from service.errors import QueueUnavailable, StartRefused
from service.settings import Settings

_LOOK_S = 0.05
_CLOSE_S = 5  # for answers that are being written when the grace time is over
# Proxies and load balancers keep an idle connection for up to a minute. Who closes one first may
# cut off a request that is on its way; so that is left to them.
_IDLE_S = 75

_log = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Serve until a signal ends it. StartRefused when Redis is reachable but unfit, when keys are
    needed and none is set, or when the address can't be listened on.
    """
    settings.require_keys()
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    redis = connect(settings.redis)
    try:
        await check_server(redis)
    except QueueUnavailable as error:
        _log.warning(
            "redis can't be used yet; requests get 503 until it can",
            extra={"code": error.code, "cause": str(error.__cause__)},
        )
    finally:
        await disconnect(redis)
    server = DrainingServer(create_app(settings), settings)
    for number in end_signals():  # uvicorn doesn't hear all of them by itself
        signal.signal(number, server.handle_exit)
    await server.serve()


class DrainingServer(uvicorn.Server):
    """A server that answers those who wait before it closes."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        api = settings.api
        config = uvicorn.Config(
            app,
            host=api.host,
            port=api.port,
            log_config=None,
            access_log=False,
            proxy_headers=False,  # Addressing reads them, all of them
            server_header=False,
            timeout_graceful_shutdown=_CLOSE_S,
            timeout_keep_alive=_IDLE_S,
        )
        super().__init__(config)
        self._state: ApiState = app.state.api
        self._grace_s = api.drain_grace_s
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which ends the process where it can't listen: StartRefused instead."""
        try:
            await super().startup(sockets)
        except SystemExit as end:
            error, config = end.__context__, self.config
            if isinstance(error, OSError):
                raise StartRefused(
                    refusal("MINDALLE_API__", config.host, config.port, error)
                ) from None
            raise

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain at the first signal; close at the second one."""
        if self._draining is not None:
            if hurries(sig):
                self.should_exit = self.force_exit = True
            return
        self._state.is_draining = True
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        """Close once nobody waits, or when the grace time is over."""
        _log.info("draining", extra={"num_waiting": self._state.num_waiting})
        try:
            async with asyncio.timeout(self._grace_s):
                while self._state.num_waiting > 0:
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            _log.warning("grace time over", extra={"num_waiting": self._state.num_waiting})
        self._state.closing.set()  # also for who came just now
        self.should_exit = True
