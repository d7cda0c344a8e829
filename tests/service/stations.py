"""Stations of a worker on a real queue, without the engine's and the pictures' threads."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from service.broker.leases import Leases
from service.metrics import WorkerMetrics
from service.store.object_store import ObjectStore
from service.tracing import tracing
from service.worker.claims.claimer import Claimer
from service.worker.claims.company import Company
from service.worker.claims.lease_keeper import LeaseKeeper
from service.worker.claims.leased import Leased
from service.worker.delivery.station import Delivery
from service.worker.run import Run
from service.worker.signs.journal import Journal
from service.worker.signs.meter import Meter
from tests.conftest import Clock
from tests.service.makers import MODEL, claim_one, make_leases
from tests.service.runs import NUM_STEPS


class Stations:
    """Claims and delivery; `drawing` has what claims handed on. Make it on the event loop."""

    def __init__(
        self,
        redis: Redis,
        clock: Clock | None = None,
        *,
        store: ObjectStore | None = None,
        patience_s: float = 10.0,
    ) -> None:
        self.registry = CollectorRegistry()
        self.moves = (0, 0)  # of drawing and pictures
        self.drawing: list[Run] = []
        meter = Meter(WorkerMetrics(self.registry), MODEL)
        self.leases: Leases = make_leases(redis, clock, store=store)
        self.leased = Leased(
            Journal(meter, tracing.start("worker", "0")), codes_per_candidate=NUM_STEPS
        )
        self.company = Company()
        self.company.join(self.leased)
        self.claimer = Claimer(
            self.leases,
            self.leased,
            meter,
            put=self.drawing.append,
            num_rows=lambda: 8,
            company=self.company,
        )
        self.keeper = LeaseKeeper(self.leases, self.leased, meter, lambda: self.moves)
        self.delivery = Delivery(
            self.leases, meter, self.leased.let_go, None if store is None else patience_s
        )

    async def claim(self, free_rows: int = 1) -> Run:
        """The next job, of so many candidates, which must be there, as a run."""
        return self.leased.add(await claim_one(self.leases, free_rows))

    def metric(self, name: str, **labels: str) -> float:
        """One sample, of the model or of all; 0 when there is none."""
        of_model = self.registry.get_sample_value(name, {"model": MODEL, **labels})
        return of_model or self.registry.get_sample_value(name, labels) or 0.0
