"""The API process: its parts put together, its life from start to drain.

`create_app` builds, the lifespan connects and disconnects. What the routes do is in their files.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from redis.asyncio import Redis

import service
from models.presets.register import PRESETS
from service.answers.preset_cards import on_demand_cards
from service.answers.source_request import FILE_FIELDS, TEXT_FIELDS
from service.api import openapi
from service.api.api_state import ApiState
from service.api.catalog import Catalog
from service.api.deliveries import Deliveries
from service.api.gauges import Gauges
from service.api.http import problems
from service.api.http.addressing import Addressing
from service.api.http.auth import KeyRing
from service.api.http.cors import Cors
from service.api.http.envelope import ErrorEnvelope
from service.api.http.methods import Methods
from service.api.http.middleware import (
    BodyLimit,
    CloseWhileDraining,
    Observe,
    RequestId,
    SecurityHeaders,
    Uploads,
)
from service.api.http.request_tracing import TraceRequests
from service.api.http.room import Room
from service.api.routes import codes, edits, generations, health, jobs, models, playground
from service.api.strays import Strays
from service.api.webhook_desk import WebhookDesk
from service.broker.fault_log import FaultLog
from service.broker.outbox import Outbox
from service.broker.queue import Queue
from service.broker.redis_connection import check_server, check_writes, connect, disconnect
from service.broker.result_files import ResultFiles
from service.broker.stopping import stop
from service.broker.sweep import Sweeper
from service.broker.workers import Workers
from service.config.aliases import check_aliases, read_aliases
from service.config.origins import read_origins
from service.errors import QueueUnavailable, StartRefused, UploadsFull
from service.hooks.sender import Sender
from service.metrics import ApiMetrics, new_registry
from service.settings import Settings
from service.store.object_store import open_store
from service.tracing import tracing

_UPLOAD_PATHS = frozenset(
    {"/v1/jobs", *(f"/v1/images/{name}" for name in ("edits", "variations", "encode", "decode"))}
)
_UPLOADS_AT_ONCE = 16  # of the largest kind, and more that are smaller

_log = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application. Connects to nothing before its lifespan starts."""
    app = FastAPI(
        title="minDALL-E Serve",
        description=openapi.DESCRIPTION,
        version=service.__version__,
        lifespan=_lifespan,
        openapi_url=None,  # openapi.py has these pages, at the address that a proxy shows
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # Addressing takes a slash off
        generate_unique_id_function=lambda route: route.name,
    )
    redis = connect(settings.redis)
    app.state.redis = redis
    app.state.tracing = tracing.start("api", service.__version__)
    outbox = _outbox(settings, redis)
    app.state.api = _state(settings, redis, outbox)
    app.state.deliveries = _deliveries(outbox, app.state.api)
    problems.install(app)
    _add_middleware(app, settings)
    for routes in (generations, edits, jobs, models, health):
        app.include_router(routes.router)
    if settings.api.codes:
        app.include_router(codes.router)
    openapi.install(app)
    if settings.api.playground:
        app.include_router(playground.make_router(playground.load_assets()))
    return app


def _state(settings: Settings, redis: Redis, outbox: Outbox) -> ApiState:
    limits, metrics = settings.queue, _metrics()
    store = open_store(settings.results, metrics.results_faults.inc)
    queue = Queue(
        redis,
        result_ttl_s=limits.result_ttl_s,
        idempotency_ttl_s=limits.idempotency_ttl_s,
        store=store,
    )
    catalog = Catalog(
        Workers(redis),
        default_model=settings.model,
        known=PRESETS,
        on_demand=on_demand_cards(settings.api.on_demand_models),
        aliases=_aliases(settings),
    )
    return ApiState(
        settings=settings,
        queue=queue,
        catalog=catalog,
        keys=KeyRing(settings.keys(), needs_key=settings.needs_key),
        metrics=metrics,
        gauges=Gauges(metrics, queue, catalog, outbox),
        faults=FaultLog(metrics.redis_faults),
        webhooks=WebhookDesk.of(settings.webhooks, settings.keys()),
        strays=Strays(queue, metrics),
        files=None if store is None else ResultFiles(redis, store),
    )


def _outbox(settings: Settings, redis: Redis) -> Outbox:
    lease_s = 2 * settings.webhooks.timeout_s + 10
    return Outbox(redis, lease_s=lease_s, letter_ttl_s=settings.queue.dead_letter_ttl_s)


def _deliveries(outbox: Outbox, state: ApiState) -> Deliveries | None:
    """What sends webhooks' messages, where this process is to do that."""
    webhooks = state.settings.webhooks
    if not (webhooks.deliver and webhooks.secrets.get_secret_value()):
        return None
    try:
        sender = Sender(
            webhooks.rules,
            timeout_s=webhooks.timeout_s,
            at_once=webhooks.at_once,
            ca_file=webhooks.ca_file,
        )
    except OSError as error:  # ssl.SSLError is one
        raise StartRefused(f"MINDALLE_WEBHOOKS__CA_FILE: {webhooks.ca_file}: {error}") from None
    return Deliveries(
        outbox, state.webhooks, sender, state.metrics.webhooks, state.faults, webhooks
    )


def _aliases(settings: Settings) -> Mapping[str, str]:
    aliases = read_aliases(settings.api.model_aliases)
    try:
        check_aliases(aliases, frozenset({settings.model, *PRESETS}))
    except ValueError as error:
        raise StartRefused(f"MINDALLE_API__MODEL_ALIASES: {error}") from None
    return aliases


def _metrics() -> ApiMetrics:
    metrics = ApiMetrics(new_registry())
    metrics.build.info({"version": service.__version__})
    return metrics


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """From the inside out: the last one added sees a request first."""
    most = max(settings.api.max_upload_bytes, settings.api.max_body_bytes)
    state: ApiState = app.state.api
    room = Room(_UPLOADS_AT_ONCE * most, partial(_count_unread, state))
    uploads = Uploads(_UPLOAD_PATHS, most, room, TEXT_FIELDS, FILE_FIELDS)
    app.add_middleware(BodyLimit, max_bytes=settings.api.max_body_bytes, uploads=uploads)
    app.add_middleware(Methods, routes=lambda: app.routes)
    app.add_middleware(ErrorEnvelope, on_fault=app.state.api.faults.note)
    app.add_middleware(Cors, origins=read_origins(settings.api.cors_origins))
    app.add_middleware(SecurityHeaders)
    app.add_middleware(CloseWhileDraining, is_draining=lambda: state.is_draining)
    app.add_middleware(Observe, metrics=app.state.api.metrics)
    app.add_middleware(TraceRequests, tracing=app.state.tracing)
    app.add_middleware(RequestId)
    app.add_middleware(
        Addressing, public_url=settings.api.base_url, trust_proxy=settings.api.trust_proxy
    )


def _count_unread(state: ApiState) -> None:
    """A body that was refused before anybody could see what model it is for."""
    state.metrics.rejected.labels(state.catalog.label(""), UploadsFull.code).inc()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    redis: Redis = app.state.redis
    state: ApiState = app.state.api
    deliveries: Deliveries | None = app.state.deliveries
    await state.queue.start()
    if deliveries is not None:
        deliveries.start()
    interval_s = state.settings.queue.sweep_interval_s
    parts = [asyncio.create_task(_again(partial(_keep_house, redis, state), state))]
    if state.files is not None:
        sweeping = partial(state.files.keep_swept, interval_s)
        parts.append(asyncio.create_task(_again(sweeping, state)))
    try:
        yield
    finally:
        state.is_draining = True
        await stop(*parts)
        await state.strays.close()
        if deliveries is not None:
            await deliveries.close()
        await state.queue.close()
        await disconnect(redis)


async def _again(part: Callable[[], Awaitable[None]], state: ApiState) -> None:
    """Do a part until it has ended. What nobody foresaw is told, and it begins anew: else jobs
    would be late for ever, and nobody would know why.
    """
    while True:
        try:
            await part()
        except Exception as error:
            state.faults.note_unforeseen("a part of the API failed; it begins anew", error)
            await asyncio.sleep(state.settings.queue.sweep_interval_s)
        else:
            return


async def _keep_house(redis: Redis, state: ApiState) -> None:
    """Sweep again and again, after a look at whether this Redis is fit to hold jobs."""
    is_checked = False
    sweeper = Sweeper(redis, policy=state.settings.queue)
    while True:
        try:
            if not is_checked:
                await check_server(redis)
                is_checked = True
            (await sweeper.sweep()).count(state.metrics.sweep)
            await check_writes(redis)
        except QueueUnavailable as error:
            state.faults.note(error)
        except StartRefused as error:
            _log.critical("no new jobs are taken: %s", error)
            state.is_draining = True
            return
        await asyncio.sleep(state.settings.queue.sweep_interval_s)
