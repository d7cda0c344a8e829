"""Who is calling: the API key of a request, compared in constant time, and what it stands for.

Keeps hashes only. Knows no routes; a route that needs no key does not ask.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from service.config.api_keys import ApiKey
from service.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose job it is, and the weight of its key in the fair order."""

    key_id: str
    weight: float


ANONYMOUS = Caller("anonymous", 1.0)


class KeyRing:
    """The API keys that this server knows."""

    def __init__(self, keys: Sequence[ApiKey], *, needs_key: bool) -> None:
        self._keys = keys
        self._needs_key = needs_key

    def identify(self, token: str | None) -> Caller:
        """The caller with this bearer token.

        Where no key is needed, a missing or unknown one makes an anonymous caller: clients such as
        OpenAI's insist on sending some key.

        Raises:
            Unauthenticated: a key is needed and this is none.
        """
        digest = hashlib.sha256((token or "").encode("utf-8", "replace")).digest()
        found = [key for key in self._keys if hmac.compare_digest(key.digest, digest)]
        if found:
            return Caller(found[0].key_id, found[0].weight)
        if self._needs_key:
            raise Unauthenticated
        return ANONYMOUS
