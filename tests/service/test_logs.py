from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from service.logs import bound, configure

_log = logging.getLogger("tests.logs")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers.clear()  # pytest's own must not be closed by force=True
    stream = io.StringIO()
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_json_line_carries_bound_ids_and_extras(lines: io.StringIO) -> None:
    configure("api", level="info", style="json", stream=lines)
    with bound(request_id="r1"), bound(job_id="j1", trace_id=None):
        _log.info("accepted %d", 3, extra={"num_candidates": 4})
    _log.debug("not shown")
    _log.info("outside")
    first, second = (json.loads(line) for line in lines.getvalue().splitlines())
    assert first["message"] == "accepted 3"
    assert (first["request_id"], first["job_id"], first["num_candidates"]) == ("r1", "j1", 4)
    assert (first["level"], first["process"]) == ("info", "api")
    assert "trace_id" not in first
    assert "request_id" not in second


def test_an_exception_stays_on_its_json_line(lines: io.StringIO) -> None:
    configure("worker", level="info", style="json", stream=lines)
    try:
        raise ValueError("boom")
    except ValueError:
        _log.exception("failed")
    (line,) = lines.getvalue().splitlines()
    assert "ValueError: boom" in json.loads(line)["exception"]


def test_text_lines_read_well(lines: io.StringIO) -> None:
    configure("api", level="debug", style="text", stream=lines)
    with bound(job_id="j1"):
        _log.debug("claimed")
    assert lines.getvalue().endswith(" debug api: claimed job_id=j1\n")
