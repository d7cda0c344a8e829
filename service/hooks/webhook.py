"""What a job's caller wants to be told, and where: a part of the job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

HookEvent = Literal["started", "succeeded", "failed", "cancelled", "expired"]
HOOK_EVENTS: tuple[HookEvent, ...] = get_args(HookEvent)
ENDS: tuple[HookEvent, ...] = HOOK_EVENTS[1:]  # what is told where a request names no events

# Why an attempt failed: the address is not allowed, the name unknown, no connection, no answer in
# time, no HTTP, another status than 200 to 299, a fault of ours.
FailReason = Literal["address", "name", "connect", "timeout", "answer", "status", "internal"]


@dataclass(frozen=True, slots=True)
class Webhook:
    """The address that gets a message for each of the events.

    `host` is the address's own; `base` is this server's, as the caller reached it: links in the
    messages begin with that.
    """

    url: str
    host: str
    events: tuple[HookEvent, ...]
    base: str

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> Self | None:
        """The one that was written down, by this release or another one; None for none."""
        if values is None:
            return None
        told = values.get("events", ())
        events = tuple(event for event in HOOK_EVENTS if event in told)
        return cls(values.get("url", ""), values.get("host", ""), events, values.get("base", ""))
