"""API keys as the operator writes them and as the server keeps them.

The key itself is hashed at once: what stays can be compared with a caller's key, and names it in
Redis and in logs, but does not give it away. Knows no HTTP.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One API key as the server keeps it: a hash to compare with, and an id for Redis and logs."""

    name: str
    key_id: str
    digest: bytes
    weight: float

    @classmethod
    def parse(cls, text: str) -> ApiKey:
        """From `name:key`, `name:key:weight` or a bare key (weight 1, named by its hash)."""
        name, _, rest = text.strip().partition(":")
        secret, _, weight = rest.partition(":")
        if not secret:
            name, secret = "", name
        digest = hashlib.sha256(secret.encode()).digest()
        key_id = digest.hex()[:16]
        return cls(name or key_id, key_id, digest, _weight(weight))


def _weight(text: str) -> float:
    try:
        weight = float(text or 1.0)
    except ValueError:
        raise ValueError("MINDALLE_API_KEYS: a key's weight is not a number") from None
    if not 0.01 <= weight <= 100:
        raise ValueError("MINDALLE_API_KEYS: a weight must be between 0.01 and 100")
    return weight


def read_keys(listed: str, path: Path | None) -> tuple[ApiKey, ...]:
    """Keys of a comma-separated list and of a file, one per line; ValueError for a bad one."""
    lines = listed.split(",") + ([] if path is None else _key_file(path))
    keys = tuple(ApiKey.parse(line) for line in lines if line.strip())
    if len({key.key_id for key in keys}) < len(keys):
        raise ValueError("MINDALLE_API_KEYS: the same key is given twice")
    return keys


def _key_file(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"MINDALLE_API_KEYS_FILE can't be read: {error.strerror}") from None
    return [line.partition("#")[0] for line in text.splitlines()]
