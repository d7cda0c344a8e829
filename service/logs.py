"""Log lines as JSON (or text), with the request, job and trace ids of what is going on.

Ids are bound to the context, so that a line deep down carries them. Callers never log an API key,
and a prompt at debug only. How lines reach their reader is the outlet's.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import IO, Literal

from service import outlet
from service.outlet import Outlet

_bound: ContextVar[Mapping[str, str]] = ContextVar("_bound", default=MappingProxyType({}))
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_OWN = frozenset({"service", "models"})  # whose `extra` is shown; a library's may hold anything
# A caller's text must not end a line, nor speak to the terminal.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {10: "\\n"}
_VALKEY_LINE = re.compile(r"\d+:(?:[A-Z] .*? (?P<sign>[.*#-])|\S+ \(\d+\)) (?P<text>.*)")

_log = logging.getLogger(__name__)


class _Binding:
    """Every request enters one: as a generator it would take five times as long."""

    __slots__ = ("_ids", "_token")

    def __init__(self, ids: Mapping[str, str]) -> None:
        self._ids = ids

    def __enter__(self) -> None:
        self._token = _bound.set({**_bound.get(), **self._ids})

    def __exit__(self, *_: object) -> None:
        _bound.reset(self._token)


def bound(**ids: str | None) -> AbstractContextManager[None]:
    """Put ids (`request_id`, `job_id`, `trace_id`) into all lines of this context, but for None."""
    return _Binding({name: value for name, value in ids.items() if value is not None})


def _fields(record: logging.LogRecord, process: str) -> dict[str, object]:
    """Time, level, logger, message, bound ids, and what our own code gave as `extra`."""
    when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    line: dict[str, object] = {
        "time": when.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "process": process,
        "logger": record.name,
        "message": record.getMessage(),
    }
    line |= _bound.get()
    if record.name.partition(".")[0] not in _OWN:
        return line
    return line | {name: value for name, value in vars(record).items() if name not in _PLAIN}


def _finite(value: object) -> object:
    """JSON has no word for NaN and infinity."""
    is_odd = isinstance(value, float) and not math.isfinite(value)
    return str(value) if is_odd else value


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
        return json.dumps({name: _finite(value) for name, value in line.items()}, default=str)


class TextLines(logging.Formatter):
    """The same for people at a terminal."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The record as `time level process: message name=value`."""
        line = _fields(record, self._process)
        del line["logger"]
        shown = {
            name: str(value).translate(_ESCAPES)
            for name, value in line.items()
            if value is not None
        }
        head = (
            f"{shown.pop('time')} {shown.pop('level')} {shown.pop('process')}:"
            f" {shown.pop('message')}"
        )
        rest = "".join(f" {name}={value}" for name, value in shown.items())
        exception = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return head + rest + exception


class _Handler(logging.StreamHandler[Outlet]):
    """Gives lines to an outlet, and at the end the time to write them."""

    def close(self) -> None:
        """See logging.Handler."""
        self.stream.drain()
        super().close()


def configure(
    process: str,
    *,
    level: str,
    style: Literal["json", "text"],
    stream: IO[str] | None = None,
) -> None:
    """Send all that this process says to `stream`, or stderr. Call it once, at the start.

    On stderr nothing that is said can stop the process: see `service.outlet`.
    """
    formatter = JsonLines(process) if style == "json" else TextLines(process)
    handler: logging.Handler
    if stream is not None:
        handler = logging.StreamHandler(stream)
    else:
        handler = _Handler(outlet.install(lambda num: formatter.format(_missing(num)) + "\n"))
        sys.excepthook = _log_unexpected
        threading.excepthook = _log_thread
        logging.captureWarnings(True)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("httpx", "httpcore", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
    for own in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(own).handlers.clear()
        logging.getLogger(own).propagate = True


def relay(line: str, child: str, *, is_ours: bool) -> None:
    """Pass on a line of a child process; one that has not our form becomes a message.

    `is_ours`: the child logs as we do, but for what its libraries print.
    """
    is_json = any(isinstance(h.formatter, JsonLines) for h in logging.getLogger().handlers)
    if is_ours and (line.startswith("{") or not is_json):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
        return
    found = _VALKEY_LINE.fullmatch(line)
    level = logging.INFO if found and found["sign"] != "#" else logging.WARNING
    _log.log(level, "%s", found["text"] if found else line, extra={"child": child})


def _missing(num_dropped: int) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": __name__,
            "levelname": "WARNING",
            "msg": "lines are missing above: they could not be written, or not soon enough",
            "num_dropped": num_dropped,
        }
    )


def _log_unexpected(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    _log.critical("an unexpected error ends this process", exc_info=(kind, error, traceback))


def _log_thread(failed: threading.ExceptHookArgs) -> None:
    error = failed.exc_value or failed.exc_type()
    _log.critical(
        "an unexpected error ended a thread",
        exc_info=(failed.exc_type, error, failed.exc_traceback),
        extra={"thread_name": failed.thread.name if failed.thread else ""},
    )
