"""`/v1/models` and `/v1/status`: what is served now, and how busy it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path

import service
from service.answers.model_answers import (
    ModelAnswer,
    ModelList,
    QueueStatus,
    StatusAnswer,
    WorkerStatus,
)
from service.api.api_state import State, caller
from service.api.openapi import errors
from service.broker.queue import Depth
from service.broker.workers import WorkerInfo
from service.errors import ModelNotFound

router = APIRouter(tags=["models"], dependencies=[Depends(caller)])


@router.get("/v1/models", response_model=ModelList, responses=errors(401, 503))
async def list_models(state: State) -> ModelList:
    """The models that live workers serve, with licence, limits and defaults."""
    served = await state.catalog.models()
    aliases = [(name, preset) for name, preset in state.catalog.aliases.items() if preset in served]
    names = [(name, name) for name in served] + aliases
    return ModelList(data=[_model(name, served[preset]) for name, preset in names])


def _model(name: str, workers: list[WorkerInfo]) -> ModelAnswer:
    """What its workers say, under the name that was asked for."""
    is_loaded = any(worker.is_loaded for worker in workers)
    answer = ModelAnswer.of(workers[0].card, len(workers), is_loaded=is_loaded)
    if name == answer.id:
        return answer
    return answer.model_copy(update={"id": name, "alias_of": answer.id})


# An alias may have a slash in it, as names of other services' models have.
@router.get("/v1/models/{model:path}", response_model=ModelAnswer, responses=errors(401, 404, 503))
async def get_model(
    model: Annotated[str, Path(description="`id` of the model.")], state: State
) -> ModelAnswer:
    """One of them."""
    workers = await state.catalog.serving(state.catalog.named(model))
    if not workers:
        raise ModelNotFound(model)
    return _model(model, workers)


@router.get("/v1/status", response_model=StatusAnswer, responses=errors(401, 503))
async def get_status(state: State) -> StatusAnswer:
    """Queue and workers at a glance; small enough to be asked every second."""
    model = state.catalog.default_model
    workers = await state.catalog.workers()  # it says sooner than the queue when Redis is away
    depth = await state.queue.depth(model)
    mine = [worker for worker in workers if worker.card.model == model]
    return StatusAnswer(
        version=service.__version__,
        model=model,
        is_ready=not state.is_draining and any(worker.is_serving for worker in mine),
        queue=QueueStatus(**asdict(depth)),
        workers=[WorkerStatus.of(worker) for worker in workers],
        rows_busy=sum(worker.rows_busy for worker in mine),
        rows_total=sum(worker.rows_total for worker in mine),
        candidates_per_s=sum(worker.candidates_per_s for worker in mine),
        eta_s=_eta_s(depth, mine),
    )


def _eta_s(depth: Depth, workers: list[WorkerInfo]) -> float | None:
    """Candidates in flight over the rate at which they leave, as far as one was measured."""
    if depth.candidates == 0:
        return 0.0
    rate = depth.drain_per_s or sum(worker.candidates_per_s for worker in workers)
    return depth.candidates / rate if rate else None
