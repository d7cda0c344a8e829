"""Models and the state of the service as callers see them, made from the workers' signs of life."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal, Self

from pydantic import BaseModel, Field

from service.answers.schemas import MAX_IMAGES, MAX_PARTIAL_IMAGES, ModelDefaults
from service.answers.views import by_parameter
from service.broker.workers import ModelCard, WorkerInfo, WorkerState


class ModelLimits(BaseModel):
    """The most that a request may ask of this model."""

    max_images: int = MAX_IMAGES
    max_candidates: int
    max_top_k: int
    max_partial_images: int = MAX_PARTIAL_IMAGES


class ModelAnswer(BaseModel):
    """A model that live workers serve."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(0, description="Not known; here for OpenAI's clients.")
    owned_by: Literal["mindalle-serve"] = "mindalle-serve"
    licence: str
    size: str
    prompt_kind: Literal["text", "class", "none"]
    num_classes: int | None
    takes_pictures: bool = Field(False, description="Whether it can begin with a picture.")
    depth: int = Field(1, description="Codes drawn at a position.")
    levels: int = Field(1, description="Levels of these codes: how long a list of `top_k` is.")
    views: dict[str, list[str]] = Field(
        {}, description="Query parameters by which an image can be seen coarser, and their values."
    )
    has_scores: bool = Field(False, description="Whether `accept` has a meaning for it.")
    enhances: bool | None = Field(
        None, description="Whether images are enhanced by default; null where they can't be."
    )
    filters: dict[str, str] = Field(
        {}, description="What `temperature`, `top_k` and the others do to its draws, in words."
    )
    limits: ModelLimits
    defaults: ModelDefaults
    weights_digest: str
    num_workers: int
    is_loaded: bool = Field(True, description="Whether a worker has it in memory already.")
    alias_of: str | None = Field(None, description="The model that this is another name of.")

    @classmethod
    def of(cls, card: ModelCard, num_workers: int, *, is_loaded: bool = True) -> Self:
        """A worker's card in the public form."""
        limits = {"max_candidates": card.max_candidates, "max_top_k": card.vocab_size}
        own = {"id": card.model, "limits": limits, "num_workers": num_workers}
        own |= {"views": by_parameter(card.views), "filters": dict(card.filters)}
        own |= {"takes_pictures": bool(card.takes_pictures), "is_loaded": is_loaded}
        return cls.model_validate(asdict(card) | own)


class ModelList(BaseModel):
    """All models that can be asked for now."""

    object: Literal["list"] = "list"
    data: list[ModelAnswer]


class QueueStatus(BaseModel):
    """How full the queue of the default model is."""

    waiting: int
    running: int
    candidates: int
    oldest_age_s: float


class WorkerStatus(BaseModel):
    """One worker's sign of life."""

    state: WorkerState
    model: str
    rows_busy: int
    rows_total: int
    candidates_per_s: float
    is_loaded: bool = Field(True, description="Whether it has its model in memory now.")

    @classmethod
    def of(cls, info: WorkerInfo) -> Self:
        """Without the worker's name, which may tell of the machine."""
        own = {"model": info.card.model, "is_loaded": info.is_loaded}
        return cls.model_validate(asdict(info) | own)


class StatusAnswer(BaseModel):
    """The whole service at a glance."""

    version: str
    model: str
    is_ready: bool
    queue: QueueStatus
    workers: list[WorkerStatus]
    rows_busy: int
    rows_total: int
    candidates_per_s: float
    eta_s: float | None = Field(description="Seconds until all that is queued now has ended.")


class Health(BaseModel):
    """A probe's answer; `reason` says what is missing."""

    status: Literal["ok", "unavailable"]
    reason: str | None = None
