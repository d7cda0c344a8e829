"""`/livez`, `/readyz` and `/metrics`: what orchestrators and Prometheus ask.

Open to all callers: they say nothing of prompts, jobs or keys.
"""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.answers.model_answers import Health
from service.api.api_state import ApiState, State
from service.api.openapi import errors
from service.errors import QueueUnavailable

router = APIRouter(tags=["operation"])


@router.get("/livez", response_model=Health, response_model_exclude_none=True, responses=errors())
async def livez() -> Health:
    """The process is up and its loop turns."""
    return Health(status="ok")


@router.get(
    "/readyz",
    response_model=Health,
    response_model_exclude_none=True,
    responses={503: {"model": Health, "description": "Send no requests here now."}, **errors()},
)
async def readyz(state: State, response: Response) -> Health:
    """Redis answers and a live worker that makes progress serves the default model, or one comes
    on demand.
    """
    reason = await _why_not_ready(state)
    if reason is None:
        return Health(status="ok")
    response.status_code = 503
    return Health(status="unavailable", reason=reason)


async def _why_not_ready(state: ApiState) -> str | None:
    if state.is_draining:
        return "draining"
    try:
        await state.catalog.workers()  # a model on demand takes jobs without a look at Redis
        takes_jobs = await state.catalog.takes_jobs(state.catalog.default_model)
    except QueueUnavailable as error:
        state.faults.note(error)
        return "redis does not answer" if error.code == QueueUnavailable.code else error.message
    return None if takes_jobs else f"no live worker serves {state.catalog.default_model}"


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **errors()},
)
async def metrics(state: State) -> Response:
    """Prometheus text; the queues are counted for it, at most once a second."""
    try:
        await state.gauges.read()
        state.metrics.redis_up.set(1)
    except QueueUnavailable as error:
        state.faults.note(error)
        state.metrics.redis_up.set(0)
    text = await asyncio.to_thread(generate_latest, state.metrics.registry)
    return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})
