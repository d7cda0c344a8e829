"""`POST /v1/images/generations`: queue a job, wait for it, answer with its images.

OpenAI's contract. A client that hangs up before its answer cancels its job.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from service.answers.image_answers import ImageData, ImagesAnswer
from service.answers.schemas import ImageRequest
from service.api.admission import Admitted, admit
from service.api.api_state import WAITS, ApiState, Origin, OriginOfRequest, State, image_urls
from service.api.http.accept import MEDIA_TYPES, Wanted, wanted
from service.api.http.hangup import ClientGoneError, unless_hung_up
from service.api.http.sse import EventStream
from service.api.openapi import (
    BODY_ERRORS,
    JOB_HEADERS,
    PICTURE_CONTENT,
    RATE_HEADERS,
    errors,
    stream_content,
)
from service.api.outcomes import check_succeeded, images_as_base64
from service.api.routes.event_streams import image_events
from service.api.waiting import DEADLINE_SLACK_S, cancel_abandoned, unless_closing
from service.errors import InvalidRequest
from service.jobs import Job, JobView

_STREAM = stream_content(
    "image_generation.partial_image",
    {"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": "iVBOR…"},
)

router = APIRouter(tags=["images"], dependencies=WAITS)


@router.post(
    "/v1/images/generations",
    response_model=ImagesAnswer,
    responses={
        200: {
            "description": "The images; the best one itself where Accept asks for a picture; "
            "events where the body asks for a stream.",
            "content": PICTURE_CONTENT | _STREAM,
            "headers": JOB_HEADERS | RATE_HEADERS,
        },
        **errors(*BODY_ERRORS, 401, 404, 409, 429, 503, 504),
    },
)
async def generate_images(
    body: ImageRequest,
    request: Request,
    state: State,
    origin: OriginOfRequest,
) -> Response:
    """Generate images and wait for them.

    `Accept: image/png` (or jpeg, webp) answers with the best image itself; `x-mindalle-*` headers
    tell its seed, score and job. With `stream`, events carry unfinished pictures and then each
    image. Hanging up cancels the job.
    """
    return await answered(body, request, state, origin)


async def answered(
    body: ImageRequest, request: Request, state: ApiState, origin: Origin
) -> Response:
    """Queue what the body asks for, wait, and answer with its images in the form that is wanted."""
    wish = wanted(request.headers.get("accept", "*/*"))
    admitted = await admit(state, _fitted(body, wish), origin)
    if body.stream:
        return _stream(state, admitted)
    view = await finished(request, state, admitted.job)
    if wish.is_picture:
        return _picture(admitted, view, await state.queue.image(view.job.id, 0))
    data = await _data(request, state, body, view)
    unused = "url" if body.response_format == "b64_json" else "b64_json"
    answer = ImagesAnswer.of(view, data).model_dump_json(exclude={"data": {"__all__": {unused}}})
    return Response(answer, media_type="application/json", headers=_headers(admitted))


def _fitted(body: ImageRequest, wish: Wanted) -> ImageRequest:
    """The body with the format that Accept names, and without previews that nobody would see."""
    if body.stream:
        return body
    changes: dict[str, object] = {"partial_images": 0}
    if wish.output_format is not None:
        if body.output_format not in (None, wish.output_format):
            raise InvalidRequest(
                f'output_format must be "{wish.output_format}", as Accept asks, or be left out.',
                param="output_format",
            )
        changes["output_format"] = wish.output_format
    return body.model_copy(update=changes)


async def finished(request: Request, state: ApiState, job: Job) -> JobView:
    """The job when it has succeeded; its client's hang-up cancels it. Raises why it has not."""
    waiting = state.queue.wait(job.id, job.deadline_s + DEADLINE_SLACK_S)
    try:
        view = await unless_hung_up(request.receive, unless_closing(state, job, waiting))
    except ClientGoneError:
        await _abandon(state, job)
        raise
    check_succeeded(view)
    return view


async def _abandon(state: ApiState, job: Job) -> None:
    """Cancel a job whose client has gone."""
    state.metrics.hang_ups.inc()
    await cancel_abandoned(state, job)


def _stream(state: ApiState, admitted: Admitted) -> EventStream:
    async def on_hang_up() -> None:
        await _abandon(state, admitted.job)

    return EventStream(
        image_events(state, admitted),
        on_hang_up,
        headers=_headers(admitted),
        heartbeat_s=state.settings.api.heartbeat_s,
    )


def _headers(admitted: Admitted) -> dict[str, str]:
    job = admitted.job
    return admitted.rate_headers() | {
        "x-mindalle-job-id": job.id,
        "x-mindalle-model": job.recipe.model,
        "x-mindalle-seed": str(job.recipe.seed),
    }


def _picture(admitted: Admitted, view: JobView, image: bytes) -> Response:
    best = view.images[0]
    headers = _headers(admitted) | {
        "x-mindalle-candidate": str(best.candidate),
        "x-mindalle-num-drawn": str(view.num_drawn),
        "x-mindalle-prompt-truncated": str(view.prompt_truncated).lower(),
        "x-mindalle-size": view.size or view.job.size,
        "x-mindalle-native-size": view.native_size or view.job.size,
    }
    if best.score is not None:
        headers["x-mindalle-score"] = f"{best.score:.6g}"
    return Response(image, media_type=MEDIA_TYPES[view.job.output_format], headers=headers)


async def _data(
    request: Request, state: ApiState, body: ImageRequest, view: JobView
) -> list[ImageData]:
    urls: list[str | None] = [None] * len(view.images)
    contents: list[str | None] = [None] * len(view.images)
    if body.response_format == "b64_json":
        contents[:] = await images_as_base64(state.queue, view)
    else:
        urls[:] = map(await image_urls(request, state)(view), range(len(view.images)))
    return [
        ImageData(url=url, b64_json=content, rank=m.rank, candidate=m.candidate, score=m.score)
        for m, url, content in zip(view.images, urls, contents, strict=True)
    ]
