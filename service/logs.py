"""Log lines as JSON (or text), with the request, job and trace ids of what is going on.

Ids are bound to the context, so that a line deep down carries them. Callers never log an API key,
and a prompt at debug only.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import IO, Literal

_bound: ContextVar[MappingProxyType[str, str]] = ContextVar("_bound", default=MappingProxyType({}))
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@contextmanager
def bound(**ids: str | None) -> Iterator[None]:
    """Put ids (`request_id`, `job_id`, `trace_id`) into all lines of this context, but for None."""
    given = {name: value for name, value in ids.items() if value is not None}
    token = _bound.set(MappingProxyType({**_bound.get(), **given}))
    try:
        yield
    finally:
        _bound.reset(token)


def _fields(record: logging.LogRecord, process: str) -> dict[str, object]:
    """Time, level, logger, message, bound ids, and whatever came as `extra`."""
    when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    line: dict[str, object] = {
        "time": when.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "process": process,
        "logger": record.name,
        "message": record.getMessage(),
    }
    line |= _bound.get()
    return line | {name: value for name, value in vars(record).items() if name not in _PLAIN}


class JsonLines(logging.Formatter):
    """One JSON object per line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; values that JSON lacks become text."""
        line = _fields(record, self._process)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """The same for people at a terminal."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The record as `time level process: message name=value`."""
        line = _fields(record, self._process)
        head = (
            f"{line.pop('time')} {line.pop('level')} {line.pop('process')}: {line.pop('message')}"
        )
        del line["logger"]
        rest = "".join(f" {name}={value}" for name, value in line.items())
        exception = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return head + rest + exception


def configure(
    process: str,
    *,
    level: str,
    style: Literal["json", "text"],
    stream: IO[str] | None = None,
) -> None:
    """Send all logging of this process to `stream`, or stderr. Call it once, at the start."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(process) if style == "json" else TextLines(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("httpx", "httpcore", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
    for own in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(own).handlers.clear()
        logging.getLogger(own).propagate = True
