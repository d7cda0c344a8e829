"""What a webhook's receiver is sent: the job's public answer as it stood at the event, in Standard
Webhooks' envelope.

Pictures are in it by address only. Knows no HTTP.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import BaseModel, Field

from service.answers.job_answer import JobAnswer
from service.jobs import JobView

MessageType = Literal["job.started", "job.succeeded", "job.failed", "job.cancelled", "job.expired"]


class WebhookMessage(BaseModel):
    """One message. The same `webhook-id` may come more than once: then it is the same message."""

    type: MessageType
    timestamp: str = Field(description="When that was (RFC 3339), by the clock of the queue.")
    data: JobAnswer = Field(description="The job as it stood then.")

    @classmethod
    def of(cls, event: str, at_ms: int, view: JobView, base: str) -> Self:
        """The message of an event; its links begin with `base`."""
        at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        prefix = f"{base}/v1/jobs/{view.job.id}/images/"
        told = {
            "type": f"job.{event}",
            "timestamp": at.replace("+00:00", "Z"),
            "data": JobAnswer.of(view, lambda rank: f"{prefix}{rank}"),
        }
        return cls.model_validate(told)
