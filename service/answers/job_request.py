"""The body of a request for a job: its fields beside those of a request that waits for its images.

Where a webhook may go, `hooks` says; here are only the forms of what is written.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Len
from pydantic import BaseModel, ConfigDict, Field, StrictStr

from service.answers.source_request import SourceRequest
from service.hooks.target import MAX_URL
from service.hooks.webhook import ENDS, HOOK_EVENTS, HookEvent


class WebhookRequest(BaseModel):
    """Whom to tell how the job goes: Standard Webhooks, signed with the operator's secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: StrictStr = Field(
        min_length=1,
        max_length=MAX_URL,
        description="An https address that gets a POST for each event.",
        examples=["https://shop.example/hooks/mindalle"],
    )
    events: Annotated[list[HookEvent], Len(1, len(HOOK_EVENTS))] = Field(
        list(ENDS),
        description="What to tell: that the job has `started`, and how it ended. Every end when "
        "left out.",
    )


class JobRequest(SourceRequest):
    """What to draw, how, and whom to tell."""

    webhook: WebhookRequest | None = Field(
        None,
        description="Whom to tell how the job goes; only where the server's operator has set a "
        "secret to sign with.",
    )
