"""Runs the Lua scripts: every change of more than one key is one of them, so it is atomic.

Puts the key names and what scripts share before each one, and sends it again when the server has
forgotten it (restart, failover). Knows nothing of what the scripts do.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from service.broker.keys import GROUP, ROUTE, Key
from service.broker.redis_connection import translated_errors

Clock = Callable[[], int]

_FOLDER = Path(__file__).parent / "lua"
_CALL = re.compile(r"redis\.call\('(?:(XGROUP|XINFO)', ')?([A-Z]+)'")


class Scripts:
    """The scripts on one Redis. `clock` (ms) replaces the server's time; only tests pass one."""

    def __init__(self, redis: Redis, clock: Clock | None = None) -> None:
        self._redis = redis
        self._clock = clock

    async def run(self, name: str, arguments: Mapping[str, Any], *blobs: bytes | str) -> Any:
        """Run lua/<name>.lua; `arguments` arrive as the table `arg`, blobs as ARGV[3] and on.

        QueueUnavailable when Redis does not answer.
        """
        now = "" if self._clock is None else str(self._clock())
        values = (now, json.dumps(arguments), *blobs)
        source, digest = self._source(name)
        async with translated_errors():
            try:
                return await self._redis.evalsha(digest, 1, ROUTE, *values)
            except NoScriptError:
                return await self._redis.eval(source, 1, ROUTE, *values)

    def _source(self, name: str) -> tuple[str, str]:
        return joined(_FOLDER, "outbox", "remains", "prelude", "parts", name)


def commands() -> list[str]:
    """Whatever commands of Redis the scripts can't do without (`pcall` calls those they can)."""
    texts = (path.read_text(encoding="utf-8") for path in _FOLDER.glob("*.lua"))
    return sorted({" ".join(filter(None, words)) for t in texts for words in _CALL.findall(t)})


@cache
def joined(folder: Path, *names: str) -> tuple[str, str]:
    """Scripts of a folder, one behind the other after the names of the keys, and their SHA-1."""
    texts = ((folder / f"{name}.lua").read_text(encoding="utf-8") for name in names)
    source = "\n".join([_key_table(), *texts])
    return source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


def _key_table() -> str:
    lines = [f"local GROUP = '{GROUP}'", "local key = {}"]
    for member in Key:
        lines.append(
            f"function key.{member.name.lower()}(...) "
            f"return string.format('{member.value}', ...) end"
        )
    return "\n".join(lines)
