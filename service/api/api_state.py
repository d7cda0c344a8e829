"""What the API process holds while it runs, and how a route gets at it.

Plain data: made once by app.py, handed to routes as a dependency. Decides nothing. Dependencies are
coroutines throughout: FastAPI would send a plain function to a thread for each request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import Receive

from service.api.catalog import Catalog
from service.api.gauges import Gauges
from service.api.http.addressing import address
from service.api.http.auth import Caller, KeyRing
from service.api.http.middleware import TRACEPARENT
from service.api.source_desk import SourceDesk
from service.api.strays import Strays
from service.api.webhook_desk import WebhookDesk
from service.broker.fault_log import FaultLog
from service.broker.queue import Queue
from service.broker.result_files import ResultFiles
from service.errors import ResultsUnavailable
from service.jobs import JobView
from service.metrics import ApiMetrics
from service.settings import Settings


@dataclass(slots=True)
class ApiState:
    """The parts of the API process. `is_draining`: it answers what waits and takes no more.

    `closing` is set when the time for that is over: whoever waits still is refused.
    """

    settings: Settings
    queue: Queue
    catalog: Catalog
    keys: KeyRing
    metrics: ApiMetrics
    gauges: Gauges
    faults: FaultLog
    webhooks: WebhookDesk
    strays: Strays
    files: ResultFiles | None = None  # of results that a store keeps
    sources: SourceDesk = field(default_factory=SourceDesk)
    is_draining: bool = False
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    num_waiting: int = 0


async def api_state(request: Request) -> ApiState:
    """The state of the process that answers this request."""
    return cast(ApiState, request.app.state.api)


State = Annotated[ApiState, Depends(api_state)]


async def waits(state: State) -> AsyncIterator[None]:
    """Count a caller that waits for its images, so that draining lasts until it has them.

    From before its job is in the queue: a job that a worker has already, and that nobody is seen to
    wait for, would lose its caller. To the last byte of the answer, which may be a stream.
    """
    state.num_waiting += 1
    try:
        yield
    finally:
        state.num_waiting -= 1


WAITS = [Depends(waits)]

_bearer = HTTPBearer(auto_error=False, description="An API key, where the server needs one.")


async def caller(
    state: State,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Caller:
    """Who calls; raises Unauthenticated where a key is needed and none that is known came."""
    return state.keys.identify(credentials.credentials if credentials else None)


CallerOfRequest = Annotated[Caller, Depends(caller)]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a job comes from: the caller, for fairness, and the request, for tracing.

    `base` is this server's address as the caller reached it; `receive` tells when the caller goes.
    """

    caller: Caller
    receive: Receive
    base: str = ""
    request_id: str | None = None
    traceparent: str | None = None


async def origin(request: Request, caller: CallerOfRequest) -> Origin:
    """Caller and ids of this request; a malformed trace context is as good as none (W3C)."""
    traceparent = request.headers.get("traceparent", "")
    return Origin(
        caller,
        request.receive,
        base=str(address(request).base),
        request_id=request.state.request_id,
        traceparent=traceparent if TRACEPARENT.fullmatch(traceparent) else None,
    )


OriginOfRequest = Annotated[Origin, Depends(origin)]


ImageUrls = Callable[[JobView], Awaitable[Callable[[int], str]]]


def image_urls(request: Request, state: ApiState) -> ImageUrls:
    """Maps a job to the addresses of its images by rank, as this client can reach them.

    An address is the store's own, where it lets anybody read the image for a while; else ours.
    """
    base = address(request).base

    async def urls(view: JobView) -> Callable[[int], str]:
        prefix = f"{base}/v1/jobs/{view.job.id}/images/"
        try:
            signed = await state.queue.addresses(view)
        except ResultsUnavailable:  # it may be back when they are fetched from us
            signed = []
        return lambda rank: signed[rank] if signed else f"{prefix}{rank}"

    return urls
