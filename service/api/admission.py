"""From a request's body to a job in the queue, or to the reason why not.

`make_job` is pure: body, model card and settings in, job out. `admit` asks the catalog and the
queue. Knows no HTTP beyond the body's schema.
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial

from service.answers.job_request import JobRequest
from service.answers.schemas import ImageRequest, is_blank, out_of_range
from service.answers.source_request import SourceRequest
from service.answers.wanted import list_of, number_of
from service.api.api_state import ApiState, Origin
from service.api.http.auth import Caller
from service.api.source_desk import check_alone, check_length
from service.api.waiting import while_wanted
from service.broker.admission import Enqueued, Idempotency, Limits
from service.broker.workers import ModelCard
from service.config.groups import ApiSettings, QueueSettings
from service.errors import DomainError, Draining, InvalidRequest, QueueUnavailable
from service.jobs import (
    MAX_SIDE,
    Job,
    Priority,
    Recipe,
    known_fields,
    new_job_id,
    new_seed,
)
from service.metrics import ADMISSION_REASONS
from service.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A job in the queue and the limits it was under."""

    enqueued: Enqueued
    limits: Limits

    @property
    def job(self) -> Job:
        """The job as the queue holds it."""
        return self.enqueued.job

    def rate_headers(self) -> dict[str, str]:
        """What is left of the key's rate, in the words of OpenAI's API."""
        limits, remaining = self.limits, self.enqueued.remaining
        reset_s = (limits.key_burst - remaining) / limits.key_rate_per_s
        return {
            "x-ratelimit-limit-requests": str(limits.key_burst),
            "x-ratelimit-remaining-requests": str(remaining),
            "x-ratelimit-reset-requests": f"{max(reset_s, 0.0):.3f}s",
        }


async def admit(
    state: ApiState, body: ImageRequest, origin: Origin, idempotency: Idempotency | None = None
) -> Admitted:
    """Queue what the body asks for, or find what the same key and body have queued before.

    That takes neither a worker nor a body that today's worker would accept, and no server is too
    close to its end for it.

    Raises:
        InvalidRequest, ModelNotFound, BodyTooLarge: the body is at fault.
        Draining, NoWorker, NoPictures, QueueUnavailable, QueueFull, RateLimited, KeyShareExceeded,
            WebhooksFull, UploadsFull: not now.
        DeadlinePassed, ClientGoneError: while the picture was read.
        IdempotencyMismatch: the key came with another body before.
    """
    if isinstance(body, SourceRequest):
        check_length(body, state.settings.api.max_body_bytes)
    model = state.catalog.named(body.model)
    limits = limits_for(origin.caller, state.settings.queue)
    try:
        known = await _known(state, origin, idempotency)
        source = None
        job = known or await _new_job(state, body, origin, model)
        if known is None and isinstance(body, SourceRequest):
            job, source = await _with_source(state, body, job, origin, limits)
        # Who sent an Idempotency-Key asks again for this job, all others for another one.
        with nullcontext() if idempotency else state.strays.watched(job):
            enqueued = await state.queue.enqueue(job, limits, idempotency, source)
    except DomainError as error:
        if error.code in ADMISSION_REASONS or isinstance(error, QueueUnavailable):
            state.metrics.rejected.labels(state.catalog.label(model), error.code).inc()
        raise
    if known is None and not enqueued.existed:
        state.metrics.admitted.labels(job.recipe.model).inc()
        _log.info("job accepted", extra={"job_id": job.id, "model": job.recipe.model})
    return Admitted(enqueued, limits)


async def _known(state: ApiState, origin: Origin, idempotency: Idempotency | None) -> Job | None:
    if idempotency is None:
        return None
    await state.catalog.workers()  # it says sooner than the queue when Redis is away
    return await state.queue.known_job(origin.caller.key_id, idempotency)


async def _new_job(state: ApiState, body: ImageRequest, origin: Origin, model: str) -> Job:
    if state.is_draining:
        raise Draining
    job = make_job(body, await state.catalog.card(model), state.settings, origin)
    if isinstance(body, JobRequest) and body.webhook is not None:
        return state.webhooks.told(job, body.webhook, origin.base)
    return job


async def _with_source(
    state: ApiState, body: SourceRequest, job: Job, origin: Origin, limits: Limits
) -> tuple[Job, bytes | None]:
    """The job with what its recipe says of the picture, if any, and the picture for its worker.

    To read it takes long: not for a caller whose job would be refused, or who has gone.
    """
    if not body.has_picture:
        check_alone(body)
        return job, None
    model = job.recipe.model
    await state.catalog.check_takes_pictures(model)
    card = await state.catalog.card(model)
    preparing = state.sources.prepare(body, card, partial(state.queue.check, job, limits))
    source, data = await while_wanted(state, origin.receive, job.deadline_s, preparing)
    return replace(job, recipe=replace(job.recipe, source=source)), data


def limits_for(caller: Caller, settings: QueueSettings) -> Limits:
    """What the queue may hold, and what of it this caller may have."""
    return Limits(
        max_depth=settings.max_depth,
        max_candidates=settings.max_candidates,
        key_candidates=settings.key_candidates,
        key_rate_per_s=settings.key_rate_per_s,
        key_burst=settings.key_burst,
        weight=caller.weight,
    )


def make_job(body: ImageRequest, card: ModelCard, settings: Settings, origin: Origin) -> Job:
    """The job that the body asks for, with every default filled in.

    Raises:
        InvalidRequest: this model can't do it; `param` names the field.
    """
    return Job(
        id=new_job_id(),
        recipe=_recipe(body, card),
        priority=Priority[(body.priority or "normal").upper()],
        output_format=body.output_format or "png",
        size=_size(body.size, card, settings.api),
        partial_images=body.partial_images or 0,
        deadline_s=_deadline_s(body.deadline_s, settings.api),
        embed_prompt=settings.prompt_in_png,
        prompt_len=card.prompt_len,
        codes_per_candidate=card.codes_per_candidate,
        min_score=_min_score(body, card),
        key_id=origin.caller.key_id,
        request_id=origin.request_id,
        traceparent=origin.traceparent,
    )


def _recipe(body: ImageRequest, card: ModelCard) -> Recipe:
    defaults, n = asdict(card.defaults), body.n or 1
    chosen = defaults | body.model_dump(include=set(defaults), exclude_none=True)
    asked = body.num_candidates or (card.max_candidates if body.accept else None)
    chosen["num_candidates"] = _num_candidates(asked, n, card)
    _check_lists(body, card)
    _check_top_k(body.top_k, card)
    return Recipe(
        model=card.model,
        prompt=_prompt(body.prompt, card, needs_text=not body.has_picture),
        seed=new_seed() if body.seed is None else body.seed,
        n=n,
        enhance=_enhance(body.enhance, card),
        **known_fields(Recipe, chosen),
    )


def _enhance(asked: bool | None, card: ModelCard) -> bool | None:
    if card.enhances is None and asked:
        raise InvalidRequest(
            f"{card.model} has no enhancement: leave enhance out.", param="enhance"
        )
    return card.enhance(asked)


def _min_score(body: ImageRequest, card: ModelCard) -> float | None:
    if body.accept is None:
        return None
    if not card.has_scores:
        raise InvalidRequest(
            f"{card.model} gives its images no scores: leave accept out.", param="accept"
        )
    return body.accept.min_score


def _prompt(prompt: str | int | None, card: ModelCard, *, needs_text: bool) -> str | int | None:
    if card.prompt_kind == "class":
        return _class_id(prompt, card)
    if card.prompt_kind == "none":
        if prompt is None or (isinstance(prompt, str) and is_blank(prompt)):
            return None
        raise InvalidRequest(
            f"{card.model} draws without a prompt: leave it empty.", param="prompt"
        )
    if prompt is None and not needs_text:
        return ""
    if not isinstance(prompt, str) or (is_blank(prompt) and needs_text):
        raise InvalidRequest(
            f'{card.model} needs a text as its prompt, such as "a red apple".', param="prompt"
        )
    return prompt


def _class_id(prompt: str | int | None, card: ModelCard) -> int:
    num_classes = card.num_classes or 0
    text = str(prompt).strip() if isinstance(prompt, str) else ""
    if text.isascii() and text.isdecimal() and len(text) <= len(str(num_classes)):
        prompt = int(text)
    if not isinstance(prompt, int) or not 0 <= prompt < num_classes:
        raise InvalidRequest(
            f"{card.model} needs a class id as its prompt: a whole number from 0 to "
            f"{num_classes - 1}, such as {num_classes // 2}.",
            param="prompt",
        )
    return prompt


def _num_candidates(asked: int | None, n: int, card: ModelCard) -> int:
    most = card.max_candidates
    if n > most:
        raise InvalidRequest(f"{card.model} makes at most {most} images at once.", param="n")
    if asked is None:
        return max(n, min(card.defaults.num_candidates, most))
    if asked < n:
        raise InvalidRequest(
            f"num_candidates must be at least n, which is {n}.", param="num_candidates"
        )
    if asked > most:
        raise InvalidRequest(
            f"{card.model} makes at most {most} candidates at once.", param="num_candidates"
        )
    return asked


def _check_lists(body: ImageRequest, card: ModelCard) -> None:
    for field, numbers in body.lists().items():
        if len(numbers) != card.levels:
            raise InvalidRequest(list_of(field, card.model, card.levels), param=field)
        at = out_of_range(field, numbers)
        if at is not None:
            raise InvalidRequest(number_of(field, numbers, at), param=field)


def _check_top_k(asked: int | list[int] | None, card: ModelCard) -> None:
    most = max(asked) if isinstance(asked, list) else asked
    if most is not None and most > card.vocab_size:
        raise InvalidRequest(
            f"{card.model} has {card.vocab_size} codes to draw from; top_k can't be more.",
            param="top_k",
        )


def _size(asked: str | None, card: ModelCard, settings: ApiSettings) -> str:
    """The size of the files; the worker resamples to it what the model makes."""
    if asked in (None, "auto", card.size):
        return card.size
    if settings.sizes == "native":
        raise InvalidRequest(
            f'{card.model} makes "{card.size}": send that, or "auto". Where '
            "MINDALLE_API__SIZES is any, this server resamples to other sizes.",
            param="size",
        )
    width, height = map(int, asked.split("x"))
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise InvalidRequest(
            f'size can be from "1x1" to "{MAX_SIDE}x{MAX_SIDE}", such as "1024x1024".',
            param="size",
        )
    return f"{width}x{height}"


def _deadline_s(asked: float | None, settings: ApiSettings) -> float:
    if asked is None:
        return settings.default_deadline_s
    if asked > settings.max_deadline_s:
        raise InvalidRequest(
            f"deadline_s can be at most {settings.max_deadline_s:g}.", param="deadline_s"
        )
    return asked
