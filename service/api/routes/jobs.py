"""`/v1/jobs`: the same images without waiting: queue, look, follow, cancel, fetch.

A job belongs to the API key that made it. Its images are open to whoever has their address: the id
in it can't be guessed, and clients fetch image addresses without their key.
"""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.responses import StreamingResponse

from service.answers.job_answer import JobAnswer
from service.answers.job_request import JobRequest
from service.answers.schemas import MAX_IMAGES
from service.answers.views import asked_for, query_for
from service.api.admission import admit
from service.api.api_state import ApiState, CallerOfRequest, OriginOfRequest, State, image_urls
from service.api.http.accept import MEDIA_TYPES
from service.api.http.addressing import address
from service.api.http.sse import EventStream
from service.api.openapi import (
    BODY_ERRORS,
    PICTURE_CONTENT,
    RATE_HEADERS,
    VIEW_QUERIES,
    errors,
    form_body,
    stream_content,
)
from service.api.routes.event_streams import job_events
from service.broker.admission import Idempotency
from service.broker.queue import EVENT_ID
from service.errors import JobNotFound, QueueUnavailable
from service.jobs import JobView

_JOB_ID = re.compile(r"job_[0-9a-hjkmnp-tv-z]{26}")
_IMAGE_KEPT = "private, max-age=3600, immutable"  # the same bytes for as long as they exist
_STREAM = stream_content("progress", {"codes_done": 64, "codes_total": 256, "stage": "decode"})

router = APIRouter(tags=["jobs"])


async def job_id_of_path(job_id: Annotated[str, Path(description="`id` of the job.")]) -> str:
    """An id that could be one; anything else never reaches the queue."""
    if not _JOB_ID.fullmatch(job_id):
        raise JobNotFound
    return job_id


JobId = Annotated[str, Depends(job_id_of_path)]


async def own_job(job_id: JobId, state: State, caller: CallerOfRequest) -> JobView:
    """The job, if this caller made it."""
    return await state.queue.get(job_id, caller.key_id)


OwnJob = Annotated[JobView, Depends(own_job)]


@router.post(
    "/v1/jobs",
    status_code=202,
    response_model=JobAnswer,
    responses={
        202: {
            "description": "Accepted, or accepted before with the same Idempotency-Key.",
            "headers": {"Location": {"schema": {"type": "string"}}} | RATE_HEADERS,
        },
        **errors(*BODY_ERRORS, 401, 404, 422, 429, 503, 504),
    },
    openapi_extra=form_body("JobRequest"),
)
async def create_job(
    body: JobRequest,
    request: Request,
    response: Response,
    state: State,
    origin: OriginOfRequest,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            description="The same key and body answer with the same job, by default for a day.",
        ),
    ] = None,
) -> JobAnswer:
    """Queue a job and return at once. `stream` and `response_format` have no effect here.

    With an `image`, it is an edit or a variation of that. A `webhook` is told how it goes.
    """
    idempotency = Idempotency(idempotency_key, body.digest()) if idempotency_key else None
    admitted = await admit(state, body, origin, idempotency)
    response.headers.update(admitted.rate_headers())
    response.headers["location"] = address(request).path(f"/v1/jobs/{admitted.job.id}")
    try:
        view = await state.queue.get(admitted.job.id)
    except QueueUnavailable:
        if idempotency is not None:
            raise  # asked again, it is this job
        view = admitted.enqueued.view()
    return JobAnswer.of(view, await image_urls(request, state)(view))


@router.get("/v1/jobs/{job_id}", response_model=JobAnswer, responses=errors(401, 404, 503))
async def get_job(view: OwnJob, request: Request, state: State) -> JobAnswer:
    """State, position in the queue, estimated time, progress, images."""
    return JobAnswer.of(view, await image_urls(request, state)(view))


@router.delete("/v1/jobs/{job_id}", response_model=JobAnswer, responses=errors(401, 404, 503))
async def cancel_job(
    job_id: JobId, request: Request, state: State, caller: CallerOfRequest
) -> JobAnswer:
    """Cancel the job; one that has ended stays as it is."""
    cancelled = await state.queue.cancel(job_id, caller.key_id)
    state.metrics.cancelled(cancelled.view.job.recipe.model, was_live=cancelled.was_live)
    return JobAnswer.of(cancelled.view, await image_urls(request, state)(cancelled.view))


@router.get(
    "/v1/jobs/{job_id}/images/{rank}",
    response_class=Response,
    responses={
        200: {"description": "The image file.", "content": PICTURE_CONTENT},
        **errors(400, 404, 503),
    },
    openapi_extra={"parameters": VIEW_QUERIES},
)
async def get_image(
    job_id: JobId, rank: Annotated[int, Path(ge=0, lt=MAX_IMAGES)], request: Request, state: State
) -> Response:
    """An image of a job that has succeeded; rank 0 is the best. Needs no API key.

    The job's `views` tell which query parameters, if any, show it coarser than it is.
    """
    asked = asked_for(request.query_params)
    view = await state.queue.get(job_id)
    query = query_for(asked, view) if asked else None
    media_type, headers = MEDIA_TYPES[view.job.output_format], {"cache-control": _IMAGE_KEPT}
    file = await state.queue.file(job_id, rank, query)
    if isinstance(file, bytes):
        return Response(file, media_type=media_type, headers=headers)
    headers["content-length"] = str(file.num_bytes)
    return StreamingResponse(file.chunks, media_type=media_type, headers=headers)


@router.get(
    "/v1/jobs/{job_id}/events",
    response_class=Response,
    responses={
        200: {"description": "The job's events until its end.", "content": _STREAM},
        204: {"description": "The job has ended and there is no more to tell of it."},
        **errors(400, 401, 404, 503),
    },
)
async def follow_job(
    view: OwnJob,
    request: Request,
    state: State,
    last_event_id: Annotated[
        str,
        Header(
            pattern=f"^({EVENT_ID})?$",
            description="The `id` of the last event received; empty is as good as none.",
        ),
    ] = "",
) -> Response:
    """Follow the job: queued, started, progress, partial_image, then how it ended.

    A client that comes back with Last-Event-ID gets what it missed; of the progress of a job that
    has ended perhaps the last alone.
    """
    job_id, after = view.job.id, last_event_id or "0"
    if view.is_terminal and not await _has_more(state, job_id, after):
        return Response(status_code=204)  # an EventSource does not come back after that
    events = job_events(state, job_id, after, image_urls(request, state))
    return EventStream(events, heartbeat_s=state.settings.api.heartbeat_s)


async def _has_more(state: ApiState, job_id: str, after: str) -> bool:
    """Of a job that has ended; not patient, as a stream is: no answer has begun yet."""
    async with aclosing(state.queue.events(job_id, after)) as events:
        return await anext(events, None) is not None
