"""The operator's secrets, and the headers that they sign, as Standard Webhooks says.

Several secrets make several signatures, so that receivers can change theirs without a gap. Knows
no connection.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from standardwebhooks import Webhook as Signer

_PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64  # bytes, as Standard Webhooks has it
_EXAMPLE = "`echo whsec_$(openssl rand -base64 32)` makes one"


@dataclass(frozen=True, slots=True)
class Secrets:
    """By the API key's name; those of "" sign for every key that has none of its own."""

    by_name: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, text: str) -> Self:
        """From a comma-separated list of `whsec_…` and `name=whsec_…`.

        Raises:
            ValueError: which entry is wrong and why, without the secret.
        """
        found: dict[str, tuple[str, ...]] = {}
        for number, entry in enumerate(filter(None, map(str.strip, text.split(","))), 1):
            is_bare = entry.startswith(_PREFIX)
            name, _, secret = ("", "", entry) if is_bare else entry.partition("=")
            _check(secret.strip(), number)
            found[name.strip()] = (*found.get(name.strip(), ()), secret.strip())
        return cls(found)

    def __bool__(self) -> bool:
        return bool(self.by_name)

    def names(self) -> frozenset[str]:
        """API keys that have secrets of their own."""
        return frozenset(self.by_name) - {""}

    def of(self, name: str | None) -> tuple[str, ...]:
        """What signs for the API key of this name, or for callers without a key."""
        own = self.by_name.get(name, ()) if name else ()
        return own or self.by_name.get("", ())


def _check(secret: str, number: int) -> None:
    place = f"secret {number}"
    if not secret.startswith(_PREFIX):
        raise ValueError(f"{place} does not begin with {_PREFIX}; {_EXAMPLE}")
    try:
        num_bytes = len(base64.b64decode(secret.removeprefix(_PREFIX), validate=True))
    except (binascii.Error, ValueError):
        raise ValueError(f"{place} is not base64 behind {_PREFIX}; {_EXAMPLE}") from None
    if not _SHORTEST <= num_bytes <= _LONGEST:
        raise ValueError(
            f"{place} has {num_bytes} bytes, and {_SHORTEST} to {_LONGEST} are wanted; {_EXAMPLE}"
        )


def signed_headers(
    secrets: Sequence[str], message_id: str, at: datetime, body: str
) -> dict[str, str]:
    """The three headers of Standard Webhooks for a body that is sent now."""
    at = at.astimezone(UTC)
    signatures = (Signer(secret).sign(message_id, at, body) for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
