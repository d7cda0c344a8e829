"""Runs without a queue: of a claim that nobody gave."""

from __future__ import annotations

import math

from service.broker.claims import Claim
from service.jobs import Job
from service.tracing import tracing
from service.tracing.tracing import JobSpan
from service.worker.run import Run
from tests.service.makers import make_job

NEVER = math.inf
NUM_STEPS = 16  # of `tiny`


def make_run(
    job: Job | None = None,
    *,
    deadline: float = NEVER,
    candidates: range | None = None,
    trace: JobSpan | None = None,
    **changes: object,
) -> Run:
    """A run of all candidates of the job, or of one that `make_job` makes with `changes`."""
    job = job or make_job(**changes)
    claim = Claim(job, fence=1, attempt=1, is_isolated=False, remaining_s=300.0, waited_s=0.5)
    untraced = tracing.start("worker", "0")
    return Run(
        claim,
        candidates=range(job.recipe.num_candidates) if candidates is None else candidates,
        codes_per_candidate=job.codes_per_candidate or NUM_STEPS,
        claimed_at=0.0,
        deadline=deadline,
        trace=trace or untraced.job(job, attempt=1, waited_s=0.5),
    )
