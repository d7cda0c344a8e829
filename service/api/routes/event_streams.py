"""A job's events as streams: OpenAI's image events, or the job's own by their own names.

Both come from the one event stream that the queue keeps. Errors become `error` events, because the
answer's status is long sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Protocol, TypeVar

from service.answers.image_answers import CompletedEvent, PartialImageEvent, Usage
from service.answers.job_answer import JobAnswer
from service.api.admission import Admitted
from service.api.api_state import ApiState, ImageUrls
from service.api.http.envelope import error_body
from service.api.http.sse import ServerEvent
from service.api.outcomes import as_base64, check_succeeded, images_as_base64
from service.api.waiting import DEADLINE_SLACK_S, unless_closing, unless_draining
from service.broker.queue import Event
from service.broker.redis_connection import backoff_s
from service.errors import DeadlinePassed, DomainError, Draining, QueueUnavailable
from service.jobs import TERMINAL, Job, JobView

_MAX_FAILURES = 30  # with the pauses between them, about two minutes without Redis


class _Numbered(Protocol):
    """What a stream can be taken up again behind."""

    @property
    def id(self) -> str | None: ...


_Told = TypeVar("_Told", bound=_Numbered)


async def lasting(
    follow: Callable[[str], AsyncGenerator[_Told, None]], after: str = "0"
) -> AsyncGenerator[_Told, None]:
    """What `follow` tells behind an event, each once, also when Redis goes away on the way.

    Raises:
        QueueUnavailable: it stayed away too long.
    """
    failures = 0
    while True:
        try:
            async for told in follow(after):
                after, failures = told.id or after, 0
                yield told
            return
        except QueueUnavailable:
            failures += 1
            if failures > _MAX_FAILURES:
                raise
        await asyncio.sleep(backoff_s(failures))


async def image_events(state: ApiState, admitted: Admitted) -> AsyncGenerator[ServerEvent, None]:
    """Partial pictures, then one `completed` event per image, the best first; or an `error`."""
    job = admitted.job
    try:
        async for event in _waited_for(state, job):
            if event.name == "partial_image":
                yield _partial(job, event)
        view = await state.queue.get(job.id)
        check_succeeded(view)
        for completed in await _completed(state, view):
            yield completed
    except DomainError as error:
        yield error_event(error)


async def _waited_for(state: ApiState, job: Job) -> AsyncGenerator[Event, None]:
    """The job's events, for one who waits for it: the deadline holds without Redis, too."""
    give_up = time.monotonic() + job.deadline_s + DEADLINE_SLACK_S
    async with aclosing(lasting(partial(state.queue.events, job.id))) as events:
        while True:
            try:
                async with asyncio.timeout(give_up - time.monotonic()):
                    event = await unless_closing(state, job, anext(events, None))
            except TimeoutError:
                raise DeadlinePassed from None
            if event is None:
                return
            yield event


def _partial(job: Job, event: Event) -> ServerEvent:
    data = PartialImageEvent(
        type="image_edit.partial_image" if _is_edit(job) else "image_generation.partial_image",
        b64_json=as_base64(event.image or b""),
        created_at=int(event.id.partition("-")[0]) // 1000,
        size=job.size,
        output_format=job.output_format,
        job_id=job.id,
        candidate=_integer(event.data.get("candidate", 0)),
        partial_image_index=_integer(event.data.get("index", 0)),
        view=event.data.get("view"),
    )
    return ServerEvent(data.type, data.model_dump(exclude_none=True))


def _is_edit(job: Job) -> bool:
    """OpenAI's SDKs know the events of pictures that begin with another one by other names."""
    return job.recipe.source is not None


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("an event's number is none")
    return value


async def _completed(state: ApiState, view: JobView) -> list[ServerEvent]:
    contents = await images_as_base64(state.queue, view)
    events = [
        CompletedEvent(
            type="image_edit.completed" if _is_edit(view.job) else "image_generation.completed",
            b64_json=content,
            created_at=(view.finished_ms or view.created_ms) // 1000,
            size=view.size or view.job.size,
            native_size=view.native_size or view.job.size,
            output_format=view.job.output_format,
            job_id=view.job.id,
            candidate=meta.candidate,
            rank=meta.rank,
            score=meta.score,
            seed=view.job.recipe.seed,
            num_drawn=view.num_drawn,
            prompt_truncated=view.prompt_truncated,
            usage=Usage.of(view),
        )
        for meta, content in zip(view.images, contents, strict=True)
    ]
    return [ServerEvent(event.type, event.model_dump()) for event in events]


def error_event(error: DomainError) -> ServerEvent:
    """An error in the middle of a stream; OpenAI's SDKs raise it as an APIError."""
    return ServerEvent("error", {"type": "error", **error_body(error)})


async def job_events(
    state: ApiState, job_id: str, after: str, urls: ImageUrls
) -> AsyncGenerator[ServerEvent, None]:
    """Everything behind the event `after`; the last event holds the whole job as it ended.

    Where this process closes it ends sooner: another one goes on behind the last event.
    """
    try:
        async with aclosing(lasting(partial(_job_events, state, job_id, urls), after)) as events:
            while event := await unless_draining(state, anext(events, None)):
                yield event
    except Draining:
        return
    except DomainError as error:
        yield error_event(error)


async def _job_events(
    state: ApiState, job_id: str, urls: ImageUrls, after: str
) -> AsyncGenerator[ServerEvent, None]:
    async for event in state.queue.events(job_id, after):
        yield await _job_event(state, job_id, event, urls)


async def _job_event(state: ApiState, job_id: str, event: Event, urls: ImageUrls) -> ServerEvent:
    if event.name in TERMINAL:
        view = await state.queue.get(job_id)
        return ServerEvent(event.name, JobAnswer.of(view, await urls(view)).model_dump(), event.id)
    content = {} if event.image is None else {"b64_json": as_base64(event.image)}
    return ServerEvent(event.name, event.data | content, event.id)
