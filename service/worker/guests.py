"""The models that a worker serves, each with the heartbeat that speaks for it.

The first one is loaded before any job is taken, unless all shall wait for a job; of the others it
is found out what they are. Knows no jobs.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from redis.asyncio import Redis

from service.broker.workers import ModelCard, Workers
from service.metrics import WorkerMetrics
from service.settings import Settings
from service.worker.cpu_share import Cores
from service.worker.model_host import Machinery, Outlook, loading_card, outlook
from service.worker.signs.heartbeat import Heartbeat
from service.worker.signs.states import States
from service.worker.signs.worker_name import Owner
from service.worker.threads import on_own_thread


@dataclass(frozen=True, slots=True)
class Guest:
    """A model that the worker serves: as it is loaded already, or what is known of it before."""

    found: Machinery | Outlook
    heartbeat: Heartbeat

    @property
    def card(self) -> ModelCard:
        """What callers may know of it."""
        return self.found.model.card if isinstance(self.found, Machinery) else self.found.card


def make_heartbeats(
    settings: Settings, redis: Redis, metrics: WorkerMetrics
) -> dict[str, Heartbeat]:
    """One for each model; the first goes by the worker's name, the others by theirs beside it."""
    owner = str(Owner.of_this_process())
    workers = Workers(redis, heartbeat_s=settings.worker.heartbeat_s, owner=owner)
    first, wanted, states = settings.first_hosted, _wanted_name(settings), States(metrics)
    return {
        name: Heartbeat(
            workers,
            wanted if name == first else f"{wanted}.{name}",
            metrics,
            loading_card(name),
            states,
        )
        for name in sorted(settings.hosted, key=lambda name: name != first)
    }


def _wanted_name(settings: Settings) -> str:
    """By which the worker shall be known among all."""
    return settings.worker.id or f"{socket.gethostname()}-{os.getpid()}"


async def find_guests(
    settings: Settings, heartbeats: Mapping[str, Heartbeat], cores: Cores
) -> dict[str, Guest]:
    """All of them. Raises as `load_model`, for whichever can't be loaded as it is."""
    return {
        name: Guest(await on_own_thread(partial(_find, name, settings, cores)), heartbeat)
        for name, heartbeat in heartbeats.items()
    }


def _find(name: str, settings: Settings, cores: Cores) -> Machinery | Outlook:
    own = settings.hosted[name]
    if name != settings.first_hosted or settings.worker.preload == "none":
        return outlook(name, own)
    return Machinery.load(name, own, cores).warmed_up()
