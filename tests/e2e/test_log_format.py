"""Everything that is logged from start to stop, by all processes together, has one form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.served import Served, served

# The time limit is for machines that are busy with other work.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

HEAD = {"time", "level", "process", "logger", "message"}
BOUND = {"request_id", "job_id", "trace_id"}
LEVELS = {"debug", "info", "warning"}  # nothing goes wrong here
PROCESSES = {"serve", "api", "worker"}
TEXT_LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?P<level>\w+) (?P<process>\w+): \S.*"
)
# A terminal's escape codes, and what `logging` should have filled in.
RAW = re.compile(r"[\x00-\x1f\x7f]|%(?:\(\w+\))?[sdrif]\b")


def _a_day(service: Served) -> None:
    """Good requests and bad ones, then the end."""
    service.until_ready()
    drawing = '{"prompt": "a red heart", "num_candidates": 1, "stream": true, "partial_images": 1}'
    assert service.ask("/v1/images/generations", method="POST", body=drawing) == [200]
    assert service.ask("/v1/images/generations", method="POST", body='{"prompt"') == [400]
    assert service.ask("/v1/jobs/none") == [404]
    assert service.ask("/%1b[31m%0a%25d") == [404]
    assert service.ask("/metrics") == [200]
    assert service.end() == 0


def _lines(folder: Path, style: str) -> Iterator[str]:
    settings = {"MINDALLE_LOG_FORMAT": style, "MINDALLE_LOG_LEVEL": "debug"}
    log = folder / "log"
    with (
        log.open("wb") as err,
        (folder / "said").open("wb") as out,
        served(folder, stdout=out.fileno(), stderr=err.fileno(), settings=settings) as service,
    ):
        _a_day(service)
    yield from log.read_text(encoding="utf-8").splitlines()


def test_json_lines_hold_our_fields_alone(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in _lines(tmp_path, "json")]
    for line in lines:
        assert line.keys() >= HEAD, line
        assert datetime.fromisoformat(line["time"]).tzinfo, line
        assert line["level"] in LEVELS, line
        is_ours = line["logger"].partition(".")[0] in ("service", "models")
        assert is_ours or line.keys() <= HEAD | BOUND, line
        assert all(re.fullmatch(r"[a-z_]+", name) for name in line), line
        assert not any(isinstance(value, dict | list) for value in line.values()), line
        assert not any(RAW.search(value) for value in line.values() if isinstance(value, str)), line
    assert {line["process"] for line in lines} == PROCESSES
    assert any("uvicorn" in line["logger"] for line in lines)
    assert any(line.get("child") == "valkey" for line in lines)


def test_text_lines_begin_with_time_level_and_process(tmp_path: Path) -> None:
    seen = set()
    for line in _lines(tmp_path, "text"):
        found = TEXT_LINE.fullmatch(line)
        assert found, line
        assert found["level"] in LEVELS, line
        assert not RAW.search(line), line
        seen.add(found["process"])
    assert seen == PROCESSES
