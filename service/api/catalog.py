"""Which models can be asked for now, by what live workers say of themselves.

Remembers for a moment what Redis said, or that it said nothing, so that a burst of requests asks it
once. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from service.broker.workers import ModelCard, WorkerInfo, Workers
from service.errors import InvalidRequest, ModelNotFound, NoPictures, NoWorker, QueueUnavailable

_FRESH_S = 0.25
_PATIENCE_S = 0.25  # for news from a Redis that did not answer the last time


class Catalog:
    """Looks models up by name. `known` names are models that exist, served now or not.

    Jobs for the `on_demand` ones are taken without a worker: their cards, until one has told its
    own. `aliases` are other names of models.
    """

    def __init__(
        self,
        workers: Workers,
        *,
        default_model: str,
        known: Collection[str],
        on_demand: Mapping[str, ModelCard] = MappingProxyType({}),
        aliases: Mapping[str, str] = MappingProxyType({}),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.default_model = default_model
        self.aliases = aliases
        self._workers = workers
        self._known = {default_model, *known}
        self._on_demand = dict(on_demand)
        self._clock = clock
        self._look: asyncio.Task[list[WorkerInfo]] | None = None
        self._looked_at = float("-inf")
        self._fault: QueueUnavailable | None = None  # of the last look

    async def workers(self) -> list[WorkerInfo]:
        """All workers with a fresh heartbeat, in any state. QueueUnavailable when Redis is away."""
        look = self._look
        if look is None or (look.done() and self._clock() - self._looked_at > _FRESH_S):
            look = self._look = asyncio.create_task(self._ask(), name="catalog")
        # One look for all who ask meanwhile; it goes on when one of them is cancelled.
        await asyncio.wait({look}, timeout=_PATIENCE_S if self._fault else None)
        if self._fault is not None:
            raise QueueUnavailable(self._fault.message, self._fault.code) from self._fault.__cause__
        return look.result()

    async def _ask(self) -> list[WorkerInfo]:
        """Nobody when Redis does not answer; `_fault` then says why."""
        try:
            workers = await self._workers.list()
            self._fault = None
            return workers
        except QueueUnavailable as error:
            self._fault = error
            return []
        finally:
            self._looked_at = self._clock()

    async def serving(self, model: str) -> list[WorkerInfo]:
        """The workers that take jobs for this model; there may be none."""
        return [w for w in await self.workers() if w.card.model == model and w.is_serving]

    async def models(self) -> dict[str, list[WorkerInfo]]:
        """Every model that is served now, with its workers, by name."""
        served: dict[str, list[WorkerInfo]] = {}
        for worker in await self.workers():
            if worker.is_serving:
                served.setdefault(worker.card.model, []).append(worker)
        return dict(sorted(served.items()))

    def named(self, name: str | None) -> str:
        """The model that a caller means by a name, or by none."""
        return self.default_model if name is None else self.aliases.get(name, name)

    async def card(self, model: str | None) -> ModelCard:
        """What can be asked of the model that a caller means.

        Raises:
            ModelNotFound: no model has this name.
            NoWorker: it exists, but nobody serves it now, and nobody comes on demand.
        """
        name = self.named(model)
        serving = await self.serving(name)
        if serving:
            if name in self._on_demand:
                self._on_demand[name] = serving[0].card
            return serving[0].card
        if name in self._on_demand:
            return self._on_demand[name]
        if name in self._known or any(w.card.model == name for w in await self.workers()):
            raise NoWorker(name)
        raise ModelNotFound(name)

    async def check_takes_pictures(self, model: str) -> None:
        """Whoever draws a job for this model can begin with a caller's picture.

        Raises:
            InvalidRequest: not with this model.
            NoPictures: a worker of a release that can't is among those that might claim it.
        """
        cards = [worker.card for worker in await self.serving(model)]
        if not cards and model in self._on_demand:
            cards = [self._on_demand[model]]
        if any(card.takes_pictures is False for card in cards):
            raise InvalidRequest(
                f"{model} can't begin with a picture; takes_pictures in /v1/models tells which "
                "models can.",
                param="image",
            )
        if not cards or any(card.takes_pictures is None for card in cards):
            raise NoPictures(model)

    async def takes_jobs(self, model: str) -> bool:
        """True when a job for this model would be taken now."""
        return model in self._on_demand or bool(await self.serving(model))

    @property
    def expected(self) -> frozenset[str]:
        """The models that callers count on, whether a worker serves them now or not."""
        return frozenset({self.default_model, *self._on_demand})

    def label(self, model: str) -> str:
        """The name as a metric's label: callers may ask for any name, labels are a closed set."""
        return model if model in self._known else "unknown"
