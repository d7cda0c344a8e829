"""Noticing that a client has gone while its answer is still in the making.

Reads the ASGI `receive` channel itself, so it works behind any pure ASGI middleware. Knows neither
jobs nor the queue: what a hang-up means is the caller's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

from service.broker.stopping import stop

Result = TypeVar("Result")


class ClientGoneError(Exception):
    """The client closed its connection before the answer was complete."""


async def unless_hung_up(receive: Receive, work: Awaitable[Result]) -> Result:
    """Run `work` to its end, or stop it as soon as the client closes the connection.

    Raises:
        ClientGoneError: the client is gone and `work` was stopped.
    """
    return await unless_ended(_hang_up(receive), ClientGoneError, work)


async def unless_ended(
    ending: Awaitable[object], error: type[Exception], work: Awaitable[Result]
) -> Result:
    """Run `work` to its end, or stop it and raise the error as soon as `ending` is over."""
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(ending)
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        waiting.result()
        raise error
    finally:
        await stop(working, waiting)


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
