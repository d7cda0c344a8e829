"""What a job has to pass to enter the queue, in the words of the script that lets it in.

The checks themselves are lua/enqueue.lua's. Knows no connection and no HTTP.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

from service.errors import (
    DomainError,
    IdempotencyMismatch,
    KeyShareExceeded,
    QueueFull,
    RateLimited,
    WebhooksFull,
)
from service.jobs import Job, JobStatus, JobView, Progress

_RETRY_UNKNOWN_S = 10.0  # Retry-After before any rate was measured
_RETRY_LONGEST_S = 300.0
_REFUSALS = {
    error.code: error for error in (QueueFull, RateLimited, KeyShareExceeded, WebhooksFull)
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What admission allows; all are checked in one step with the enqueueing itself.

    `max_depth` jobs waiting and `max_candidates` in flight per model; one API key may hold
    `key_candidates` of those, sends `key_rate_per_s` jobs after a burst of `key_burst`, and has
    `weight` in the fair order.
    """

    max_depth: int
    max_candidates: int
    key_candidates: int
    key_rate_per_s: float
    key_burst: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The caller's Idempotency-Key and a digest of the body that came with it."""

    key: str
    digest: str

    @property
    def key_digest(self) -> str:
        """Stands for the key in Redis: of one length, whatever the caller sent."""
        return hashlib.sha256(self.key.encode()).hexdigest()

    def arguments(self, ttl_ms: int) -> dict[str, str | int]:
        """For the script; remembered for so long."""
        return {"key": self.key_digest, "digest": self.digest, "ttl_ms": ttl_ms}


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The accepted job. `existed`: an earlier call with the same idempotency key made it.

    `remaining`: jobs that this API key may send at once from here on.
    """

    job: Job
    position: int
    existed: bool
    remaining: int
    created_ms: int

    def view(self) -> JobView:
        """The job as it was then: a new one waits, and nothing else is known of it."""
        total = self.job.recipe.num_candidates * self.job.codes_per_candidate
        return JobView(
            job=self.job,
            status=JobStatus.QUEUED,
            position=self.position,
            eta_s=None,
            progress=Progress(codes_total=total),
            attempts=0,
            created_ms=self.created_ms,
            started_ms=None,
            finished_ms=None,
            expires_ms=None,
            images=(),
            size=None,
            timings_s={},
            prompt_truncated=False,
            error=None,
            num_drawn=self.job.recipe.num_candidates,
        )


def entry_of(job: Job, ttl_ms: int, weight: float = 1.0) -> dict[str, Any]:
    """What the script needs to know of a job whose result is kept for so long."""
    entry = {
        "id": job.id,
        "model": job.recipe.model,
        "key_id": job.key_id,
        "priority": int(job.priority),
        "cost": job.recipe.num_candidates,
        "weight": weight,
        "deadline_ms": math.ceil(job.deadline_s * 1000),
        "ttl_ms": ttl_ms,
        "keep_ms": ttl_ms,
        "whole": job.min_score is not None,  # scores decide how many are drawn: one worker's task
    }
    if job.webhook is not None:
        wish = {"host": job.webhook.host, "events": job.webhook.events}
        entry["webhook"] = json.dumps(wish)
    return entry


def refusal(status: str, retry_after_s: float | None) -> DomainError:
    """The error for what the script answered."""
    if status == "mismatch":
        return IdempotencyMismatch()
    seconds = _RETRY_UNKNOWN_S if retry_after_s is None else retry_after_s
    return _REFUSALS[status](float(math.ceil(min(max(seconds, 1.0), _RETRY_LONGEST_S))))
