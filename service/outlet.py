"""Output that never holds a process up: its reader may be gone, slow, or a disk that is full.

Whoever has something to say queues it; a thread of its own writes. What can't be written, or not
soon enough, is dropped and counted. Knows nothing of log records and their form.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

_MAX_WAITING_BYTES = 2**20  # of lines that a slow reader has not taken yet
_LAST_WORDS_S = 1.0  # at the end of the process, for what still waits

STDIN, STDOUT, STDERR = 0, 1, 2


class Outlet(io.TextIOBase):
    """A text stream in front of a file descriptor; nothing that is done with it waits or raises.

    `notice` makes the text that is written, once the reader takes lines again, in place of so many
    that were dropped.
    """

    encoding = "utf-8"  # what that can't say is escaped

    def __init__(
        self,
        fd: int,
        notice: Callable[[int], str] = lambda num_dropped: "",
        *,
        max_waiting_bytes: int = _MAX_WAITING_BYTES,
    ) -> None:
        self.num_dropped = 0
        self._fd = fd
        self._notice = notice
        self._max_waiting_bytes = max_waiting_bytes
        self._changed = threading.Condition()  # on a lock that a signal handler may take again
        self._waiting: deque[bytes] = deque()
        self._num_waiting_bytes = 0  # with those that the thread is writing
        self._num_told = 0
        self._is_stuck = False  # the end has waited for it in vain
        self._is_torn = False  # a disk that filled up holds the beginning of a line
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        """Where it all goes."""
        return self._fd

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return os.isatty(self._fd)

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, text: str) -> int:
        """Queue a text; its lines are dropped and counted when too many wait."""
        data = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if self._num_waiting_bytes + len(data) > self._max_waiting_bytes:
                self.num_dropped += data.count(b"\n")
                return len(text)
            self._waiting.append(data)
            self._num_waiting_bytes += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="output", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """Nothing: the thread never puts anything off."""

    def drain(self, timeout_s: float = _LAST_WORDS_S) -> bool:
        """Wait until all is written or dropped; False when it takes too long, now and later."""
        with self._changed:
            if not self._is_stuck:
                written = self._changed.wait_for(lambda: not self._num_waiting_bytes, timeout_s)
                self._is_stuck = not written
        return not self._is_stuck

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                data = b"".join(self._waiting)
                self._waiting.clear()
            left = self._write(data)
            if not left and not self._waiting:
                self._tell()
            with self._changed:
                self.num_dropped += left.count(b"\n")
                self._num_waiting_bytes -= len(data)
                self._changed.notify_all()

    def _tell(self) -> None:
        """Say how many are missing, if any are: all that was said is written now but for those."""
        num_dropped = self.num_dropped
        if num_dropped > self._num_told:
            notice = self._notice(num_dropped - self._num_told)
            if not self._write(notice.encode()):
                self._num_told = num_dropped

    def _write(self, data: bytes) -> bytes:
        """Write it all, on a new line where one was torn; gives what could not be written."""
        left = b"\n" + data if self._is_torn else data
        last = b""
        while left:
            try:
                num_written = os.write(self._fd, left)
            except BlockingIOError:  # whoever gave us the descriptor made it so
                _wait_for_room(self._fd)
            except OSError:
                self._is_torn = last != b"\n" if last else self._is_torn
                return left
            else:
                last, left = left[num_written - 1 : num_written], left[num_written:]
        self._is_torn = False
        return left


def _wait_for_room(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()


def fill_standard_descriptors() -> None:
    """Put /dev/null where standard input, output or error is closed.

    Else the next file or socket gets that number, and whatever is printed goes into it.
    """
    for fd in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number
    if sys.stdout is None:
        sys.stdout = os.fdopen(STDOUT, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(STDERR, "w", closefd=False)


def discard(stream: TextIO) -> None:
    """Let what the stream still holds go to nowhere, lest Python try again at its own end."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def install(notice: Callable[[int], str]) -> Outlet:
    """From now on nothing that this process prints can stop it; gives standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Outlet):
            stream.drain()
    out, err = Outlet(STDOUT), Outlet(STDERR, notice)
    sys.stdout, sys.stderr = out, err
    atexit.register(out.drain)
    atexit.register(err.drain)
    return err


def num_dropped() -> int:
    """Lines of this process that nobody got."""
    streams = (sys.stdout, sys.stderr)
    return sum(stream.num_dropped for stream in streams if isinstance(stream, Outlet))
