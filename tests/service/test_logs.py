from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from service.logs import bound, configure, relay

_log = logging.getLogger("service.tests")  # ours, so that its extras are shown


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


def test_a_slow_reader_is_told_what_is_missing_in_a_line_of_the_same_form() -> None:
    program = """
import logging
from service import logs
logs.configure("api", level="info", style="json")
for number in range(20_000):
    logging.getLogger("service.tests").info("line %d", number)
print("all said", flush=True)
input()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "all said\n"
        lines: list[dict[str, Any]] = []
        while not lines or "num_dropped" not in lines[-1]:
            lines.append(json.loads(process.stderr.readline()))
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait(60) == 0
    assert len(lines) - 1 + lines[-1]["num_dropped"] == 20_000
    assert lines[-1]["level"] == "warning"
    assert lines[-1]["message"].startswith("lines are missing above")


def test_what_a_library_attaches_stays_away(lines: io.StringIO) -> None:
    configure("api", level="info", style="json", stream=lines)
    logging.getLogger("uvicorn.error").info(
        "Started server process [%d]", 7, extra={"color_message": "Started [\x1b[36m%d\x1b[0m]"}
    )
    line = json.loads(lines.getvalue())
    assert line.keys() == {"time", "level", "process", "logger", "message"}
    assert line["message"] == "Started server process [7]"


def test_a_number_that_json_lacks_is_text(lines: io.StringIO) -> None:
    configure("worker", level="info", style="json", stream=lines)
    _log.info("measured", extra={"seconds": float("nan"), "rate": float("inf")})
    line = json.loads(lines.getvalue(), parse_constant=pytest.fail)
    assert (line["seconds"], line["rate"]) == ("nan", "inf")


def test_a_callers_text_ends_no_line_and_colours_no_terminal(lines: io.StringIO) -> None:
    configure("api", level="info", style="text", stream=lines)
    with bound(request_id="r1\n2026-01-01T00:00:00.000Z info api: forged"):
        _log.info("prompt %s", "\x1b[31mred\r\n", extra={"model": "\x9b1m"})
    (line,) = lines.getvalue().splitlines()
    assert "prompt \\x1b[31mred\\x0d\\n" in line
    assert line.endswith("model=\\x9b1m")


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_line_of_a_child_gets_our_form_unless_it_has_it(
    lines: io.StringIO, style: Literal["json", "text"], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("serve", level="info", style=style, stream=lines)
    monkeypatch.setattr(sys, "stderr", lines)
    relay("7:M 25 Nov 2026 22:07:08.013 # WARNING: overcommit", "valkey", is_ours=False)
    relay("7:signal-handler (1795644432) Received SIGTERM", "valkey", is_ours=False)
    relay('{"level": "info"}', "api", is_ours=True)
    relay("[W] a library prints", "worker", is_ours=True)
    warning, info, own, printed = lines.getvalue().splitlines()
    assert "warning" in warning
    assert "7:M" not in warning
    assert "info" in info
    assert "Received SIGTERM" in info
    assert own == '{"level": "info"}'
    assert ("warning" in printed) == (style == "json")


def test_warnings_and_failures_nobody_caught_are_lines_like_any_other() -> None:
    program = """
import sys, threading, warnings
from service import logs
logs.configure("worker", level="info", style="json")
warnings.warn("old")
thread = threading.Thread(target=lambda: 1 / 0, name="maker")
thread.start()
thread.join()
{}["nothing"]
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    old, thread, last = map(json.loads, done.stderr.splitlines())
    assert done.returncode == 1
    assert "UserWarning: old" in old["message"]
    assert (thread["level"], thread["thread_name"]) == ("critical", "maker")
    assert "ZeroDivisionError" in thread["exception"]
    assert "KeyError: 'nothing'" in last["exception"]
