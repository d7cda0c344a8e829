"""Waiting for a job on a caller's behalf: what ends it besides the job's own end.

The client hangs up, or the deadline passes, or this process closes. A job that nobody waits for any
more is cancelled. Knows nothing of answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

from service.api.api_state import ApiState
from service.api.http.hangup import ClientGoneError, unless_ended, unless_hung_up
from service.errors import DeadlinePassed, DomainError, Draining, JobLost, JobNotFound
from service.jobs import Job

# The queue itself ends a job at its deadline; a waiter gives it this long to say so.
DEADLINE_SLACK_S = 2.0
_CANCEL_S = 1.0  # of the few seconds in which a process that closes must have answered

Result = TypeVar("Result")

_log = logging.getLogger(__name__)


async def unless_draining(state: ApiState, work: Awaitable[Result]) -> Result:
    """Run `work` to its end, or stop it when the process closes.

    Raises:
        Draining: it closes.
    """
    return await unless_ended(state.closing.wait(), Draining, work)


async def unless_closing(state: ApiState, job: Job, work: Awaitable[Result]) -> Result:
    """Run `work`, the wait for a job, to its end; or stop it and cancel the job when the process
    closes.

    Raises:
        Draining: it closes.
        JobLost: the job is not there any more.
    """
    try:
        return await unless_draining(state, work)
    except JobNotFound:
        _log.warning("redis has lost a job that a caller waits for", extra={"job_id": job.id})
        raise JobLost from None
    except Draining:
        cancelling = asyncio.ensure_future(cancel_abandoned(state, job))
        await asyncio.wait({cancelling}, timeout=_CANCEL_S)
        raise


async def while_wanted(
    state: ApiState, receive: Receive, deadline_s: float, work: Awaitable[Result]
) -> Result:
    """Run `work`, which comes before there is a job, as long as somebody waits for that.

    Raises:
        ClientGoneError, DeadlinePassed, Draining: nobody does any more.
    """
    try:
        async with asyncio.timeout(deadline_s):
            return await unless_hung_up(receive, unless_draining(state, work))
    except TimeoutError:
        raise DeadlinePassed from None
    except ClientGoneError:
        state.metrics.hang_ups.inc()
        raise


async def cancel_abandoned(state: ApiState, job: Job) -> None:
    """Cancel a job that nobody waits for; without Redis it runs on until its deadline."""
    try:
        cancelled = await state.queue.cancel(job.id)
    except DomainError as error:
        _log.warning("a job that nobody waits for runs on: %s", error.message)
        return
    state.metrics.cancelled(job.recipe.model, was_live=cancelled.was_live)
