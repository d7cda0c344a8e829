"""A job as callers see it, made from the queue's view of it.

Knows no HTTP: whoever makes the answer says at which address each image is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Literal, Self

from pydantic import BaseModel, Field

from service.answers.schemas import Accept, JobParameters, PriorityName, SourceParameters
from service.answers.views import by_parameter
from service.jobs import JobStatus, JobView, Priority

_PRIORITY_NAMES: dict[Priority, PriorityName] = {
    Priority.HIGH: "high",
    Priority.NORMAL: "normal",
    Priority.LOW: "low",
}


class JobImage(BaseModel):
    """Where to fetch an image of a job. The address needs no API key: it can't be guessed."""

    rank: int
    url: str
    candidate: int
    score: float | None
    num_bytes: int


class JobProgress(BaseModel):
    """Codes drawn so far and to draw in all."""

    codes_done: int
    codes_total: int
    stage: str


class JobFailure(BaseModel):
    """Why a job failed."""

    code: str
    message: str


class JobAnswer(BaseModel):
    """A job as it stands. Times are seconds since 1970, by the clock of the queue."""

    id: str
    object: Literal["image.job"] = "image.job"
    status: JobStatus
    model: str
    position: int | None = Field(description="0 is next; null unless queued.")
    eta_s: float | None = Field(description="Estimated seconds until it ends, once measured.")
    progress: JobProgress
    attempts: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: float | None = Field(
        description="When the images and events of an ended job are removed, and with them the "
        "job, unless an Idempotency-Key still finds it."
    )
    parameters: JobParameters
    source: SourceParameters | None = Field(None, description="The picture that it begins with.")
    enhance: bool | None = Field(
        None,
        description="Whether its images are enhanced; null where that was not asked for and the "
        "model doesn't by itself.",
    )
    images: list[JobImage] = Field(description="Best first; empty again from `expires_at` on.")
    size: str | None
    native_size: str | None = Field(description="What the model made; `size` is resampled from it.")
    accept: Accept | None = None
    num_drawn: int = Field(description="Candidates drawn; at most so many, until it has ended.")
    views: dict[str, list[str]] = Field(
        {}, description="Query parameters by which an image can be seen coarser, and their values."
    )
    prompt_truncated: bool
    timings_s: dict[str, float]
    error: JobFailure | None

    @classmethod
    def of(cls, view: JobView, image_url: Callable[[int], str]) -> Self:
        """The queue's view in the public form; `image_url` gives the address of a rank."""
        own = {
            "id": view.job.id,
            "model": view.job.recipe.model,
            "created_at": view.created_ms / 1000,
            "started_at": _seconds(view.started_ms),
            "finished_at": _seconds(view.finished_ms),
            "expires_at": _seconds(view.expires_ms),
            "parameters": _parameters(view),
            "source": view.job.recipe.source and asdict(view.job.recipe.source),
            "enhance": view.job.recipe.enhance,
            "views": by_parameter(view.views),
            "accept": _accept(view),
            "images": [asdict(meta) | {"url": image_url(meta.rank)} for meta in view.images],
        }
        return cls.model_validate(asdict(view) | own)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _accept(view: JobView) -> Accept | None:
    least = view.job.min_score
    return None if least is None else Accept(min_score=least)


def _parameters(view: JobView) -> JobParameters:
    job = view.job
    return JobParameters(
        **asdict(job.recipe),
        output_format=job.output_format,
        priority=_PRIORITY_NAMES[job.priority],
        partial_images=job.partial_images,
        deadline_s=job.deadline_s,
    )
