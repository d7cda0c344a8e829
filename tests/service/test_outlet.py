from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from service import outlet
from service.metrics import DroppedLines
from service.outlet import Outlet

WAIT_S = 20.0


def notice(num_dropped: int) -> str:
    return f"({num_dropped} dropped)\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The two ends, to read and to write; a test may have closed them."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def read(fd: int) -> str:
    """What comes until the writer's end is closed."""
    with os.fdopen(fd, "rb", closefd=False) as file:
        return file.read().decode()


def test_what_is_said_is_written_in_its_order(pipe: tuple[int, int]) -> None:
    out = Outlet(pipe[1])
    for number in range(100):
        print("line", number, file=out)
    print("né \ud800", file=out, flush=True)
    assert out.drain(WAIT_S)
    os.close(pipe[1])
    assert read(pipe[0]) == "".join(f"line {n}\n" for n in range(100)) + "né \\ud800\n"
    assert out.num_dropped == 0


def test_a_reader_who_has_gone_costs_lines_and_nothing_else(pipe: tuple[int, int]) -> None:
    out = Outlet(pipe[1])
    os.close(pipe[0])
    for _ in range(3):
        out.write("nobody reads this\n")
        assert out.drain(WAIT_S)
    assert out.num_dropped == 3


def test_a_full_disk_costs_lines_and_nothing_else() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    out = Outlet(full)
    out.write("one\ntwo\n")
    assert out.drain(WAIT_S)
    assert out.num_dropped == 2
    os.close(full)


def test_a_reader_who_is_slow_gets_what_fits_and_a_word_on_the_rest(pipe: tuple[int, int]) -> None:
    out = Outlet(pipe[1], notice, max_waiting_bytes=200_000)
    line = "x" * 999 + "\n"
    for _ in range(1000):  # a pipe holds 65,536 bytes
        out.write(line)
    assert not out.drain(0.01)
    assert out.num_dropped >= 700
    os.set_blocking(pipe[0], False)
    got = b""
    while b"dropped)" not in got:
        try:
            got += os.read(pipe[0], 65_536)
        except BlockingIOError:
            continue
    out.write("again\n")
    os.set_blocking(pipe[0], True)
    while not got.endswith(b"again\n"):
        got += os.read(pipe[0], 65_536)
    lines = got.decode().splitlines(keepends=True)
    assert lines[-2:] == [notice(out.num_dropped), "again\n"]
    assert set(lines[:-2]) == {line}
    assert len(lines) - 2 + out.num_dropped == 1000


def test_a_pipe_that_does_not_block_loses_nothing(pipe: tuple[int, int]) -> None:
    """As it is when node.js or an event loop started us."""
    os.set_blocking(pipe[1], False)
    out = Outlet(pipe[1])
    line = "y" * 9_999 + "\n"
    for _ in range(20):
        out.write(line)
    got = b""
    while len(got) < 20 * len(line):
        got += os.read(pipe[0], 65_536)
    assert got.decode() == line * 20
    assert out.num_dropped == 0


def test_lines_stay_whole_around_a_disk_that_was_full(tmp_path: Path) -> None:
    """Three lines into room for one and a half, then there is room again."""
    program = """
import resource, signal, sys
from service.outlet import Outlet
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (15, resource.RLIM_INFINITY))
out = Outlet(1, lambda num: f"({num} dropped)\\n")
out.write("123456789\\n" * 3)
out.drain()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
out.write("afterwards\\n")
out.drain()
"""
    path = tmp_path / "log"
    with path.open("wb") as log:
        subprocess.run([sys.executable, "-c", program], stdout=log, check=True, timeout=60)
    assert path.read_text().splitlines() == ["123456789", "12345", "afterwards", "(2 dropped)"]


def test_closed_descriptors_are_filled_before_a_file_can_get_their_numbers(tmp_path: Path) -> None:
    program = (
        "import sys; from service import outlet; outlet.fill_standard_descriptors(); "
        f"file = open({str(tmp_path / 'own')!r}, 'w'); "
        "print('lost'); print('lost', file=sys.stderr); "
        "sys.exit(file.fileno() < 3)"
    )
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", program]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0
    assert (tmp_path / "own").read_text() == ""


def test_dropped_lines_are_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Outlet(full))
        sys.stderr.write("lost\n")
        assert isinstance(sys.stderr, Outlet)
        sys.stderr.drain(WAIT_S)
        registry = CollectorRegistry()
        DroppedLines(registry=registry)
        assert "mindalle_log_lines_dropped_total 1.0" in generate_latest(registry).decode()
    assert outlet.num_dropped() == 0
    os.close(full)
