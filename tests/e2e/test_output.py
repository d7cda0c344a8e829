"""Whatever becomes of what it prints, the service serves and obeys the first signal."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.served import Served, served

# The time limit is for machines that are busy with other work.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

DEVNULL = os.open(os.devnull, os.O_RDWR)


def _works_and_ends(service: Served, num_requests: int, number: signal.Signals) -> None:
    service.until_ready()
    assert set(service.ask("/v1/models", num_requests)) == {200}
    body = '{"prompt": "a red heart", "num_candidates": 1}'
    assert service.ask("/v1/images/generations", method="POST", body=body) == [200]
    assert service.end(number) == 0


@contextmanager
def _pipe(*, is_closed: bool) -> Iterator[int]:
    """An end to write to, whose reader has gone or reads nothing."""
    reader, writer = os.pipe()
    if is_closed:
        os.close(reader)
    yield writer
    os.close(writer)
    if not is_closed:
        os.close(reader)


def test_a_day_under_a_closed_pipe(tmp_path: Path) -> None:
    """`mindalle serve 2>&1 | head -5`, which used to hang at its 1,024th answer for ever."""
    with (
        _pipe(is_closed=True) as gone,
        served(tmp_path, stdout=gone, stderr=gone) as service,
    ):
        _works_and_ends(service, 5_000, signal.SIGTERM)


def test_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    with (
        _pipe(is_closed=False) as stuck,
        served(tmp_path, stdout=stuck, stderr=stuck) as service,
    ):
        _works_and_ends(service, 1_000, signal.SIGINT)


def test_a_full_disk(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with served(tmp_path, stdout=full, stderr=full) as service:
        _works_and_ends(service, 100, signal.SIGTERM)
    os.close(full)


def test_closed_descriptors(tmp_path: Path) -> None:
    closed = "<&- >&- 2>&-"
    with served(tmp_path, stdout=DEVNULL, stderr=DEVNULL, redirections=closed) as service:
        _works_and_ends(service, 100, signal.SIGTERM)


@pytest.mark.usefixtures("hangups")
def test_a_terminal_that_is_closed(tmp_path: Path) -> None:
    """The reader goes, and SIGHUP comes: everything ends in good order."""
    with (
        _pipe(is_closed=True) as gone,
        served(tmp_path, stdout=gone, stderr=gone) as service,
    ):
        _works_and_ends(service, 10, signal.SIGHUP)
