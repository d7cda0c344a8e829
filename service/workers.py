"""Which workers live: what each of them says about itself, and for how long it is believed.

Knows nothing of jobs. A worker that stops its heartbeat vanishes after the time to live.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

WorkerState = Literal["loading", "ready", "draining", "failing"]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What callers may know of the model that a worker holds.

    `size` is pixels as "256x256". `prompt_len` positions hold the prompt, padding included; then
    come `num_steps` steps per candidate, each drawing from `vocab_size` codes. A default of None
    means no cut.
    """

    model: str
    licence: str
    size: str
    prompt_len: int
    prompt_kind: Literal["text", "class", "none"]
    max_candidates: int
    default_num_candidates: int
    vocab_size: int
    num_steps: int
    default_top_k: int | None
    default_top_p: float | None
    default_temperature: float
    weights_digest: str
    num_classes: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker's sign of life. `num_steps` only grows; `state` failing takes it out of readiness.

    `is_progressing`: steps were made since the last heartbeat, or nothing runs.
    """

    id: str
    state: WorkerState
    card: ModelCard
    rows_total: int
    rows_busy: int
    candidates_per_s: float
    num_steps: int
    is_progressing: bool
    version: str

    @property
    def is_serving(self) -> bool:
        """True when new jobs for its model will be picked up."""
        return self.state == "ready" and self.is_progressing


class Workers:
    """The list of live workers in Redis."""

    def __init__(self, redis: Redis, *, ttl_s: float = 5.0) -> None:
        self._redis = redis

    async def heartbeat(self, info: WorkerInfo) -> None:
        """Say that this worker lives; call it at least every `ttl_s` / 3."""
        raise NotImplementedError

    async def remove(self, worker_id: str, model: str) -> None:
        """Leave the list, as the last act of a clean end."""
        raise NotImplementedError

    async def list(self) -> list[WorkerInfo]:
        """All workers whose last heartbeat is fresh, by id."""
        raise NotImplementedError
