"""How a job ended, for a caller who waited: with images, or with an error to answer."""

from __future__ import annotations

import asyncio
import base64

from service.broker.queue import Queue
from service.errors import DeadlinePassed, DomainError, InvalidRequest, JobCancelled, JobFailed
from service.jobs import JobStatus, JobView


def check_succeeded(view: JobView) -> None:
    """Raise the domain error that says why the job has no images; nothing when it has."""
    if view.status != JobStatus.SUCCEEDED:
        raise _error_of(view)


def _error_of(view: JobView) -> DomainError:
    if view.status == JobStatus.CANCELLED:
        return JobCancelled()
    if view.status == JobStatus.EXPIRED:
        return DeadlinePassed()
    if view.error is None:
        return JobFailed()
    if view.error.code == InvalidRequest.code:  # the model itself found fault with the request
        return InvalidRequest(view.error.message)
    return JobFailed(view.error.message, view.error.code)


async def images_as_base64(queue: Queue, view: JobView) -> list[str]:
    """All images of a job that has succeeded, the best first, as text for JSON."""
    files = await asyncio.gather(*(queue.image(view.job.id, meta.rank) for meta in view.images))
    return [as_base64(data) for data in files]


def as_base64(data: bytes) -> str:
    """Bytes as JSON can hold them."""
    return base64.b64encode(data).decode("ascii")
