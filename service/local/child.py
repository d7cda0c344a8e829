"""One supervised child process: started, ended, started again when it dies.

Its lines go to our own stderr, and are read whatever becomes of that, else it would stop at a full
pipe; the last ones are kept for the day it dies. Knows nothing of what it does.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from service import logs

_PR_SET_PDEATHSIG = 1  # Linux: a signal when the parent dies, even by SIGKILL
_KEPT_LINES = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `never_again`: exit statuses after which a restart would change nothing."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    stdin: bytes = b""
    pass_fds: tuple[int, ...] = ()
    never_again: frozenset[int] = field(default_factory=lambda: frozenset({2}))
    logs_as_we_do: bool = True


class Child:
    """A program while it runs. Not in our process group: Ctrl-C reaches only the supervisor."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it; OSError when the program is not there. A cancellation waits for it."""
        starting = asyncio.create_task(self._start())
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await starting
            raise

    async def _start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self.program.command,
            env=dict(self.program.environment),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=self.program.pass_fds,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(self.program.stdin)
        self._process.stdin.close()
        self._reading = asyncio.create_task(self._read(self._process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await _line(process.stdout):
            text = line.decode(errors="replace").rstrip()
            if text:
                self.last_lines.append(text)
                logs.relay(text, self.program.name, is_ours=self.program.logs_as_we_do)

    @property
    def pid(self) -> int:
        """The number of its process, once it was started."""
        assert self._process is not None
        return self._process.pid

    async def wait(self) -> int:
        """Its exit status, once all its lines are read."""
        assert self._process is not None
        assert self._reading is not None
        status = await self._process.wait()
        await self._reading
        return status

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def end(self, timeout_s: float) -> None:
        """Ask it to end and wait; kill it when the time is over."""
        if self._process is None:
            return
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout_s):
                await self._process.wait()
        except TimeoutError:
            _log.warning("killing a child that does not end", extra={"child": self.program.name})
            self.send(signal.SIGKILL)
            await self._process.wait()


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line; of one that is longer than the buffer, nothing but a line end."""
    try:
        return await stream.readline()
    except ValueError:
        return b"\n"


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def python(*arguments: str) -> tuple[str, ...]:
    """The command that runs this package with the same interpreter."""
    return (sys.executable, "-m", "service", *arguments)


def describe(lines: Sequence[str]) -> str:
    """The last lines of a child, for a person."""
    return "\n".join(f"  {line}" for line in lines) or "  (it said nothing)"


def complaint(lines: Sequence[str], name: str) -> str:
    """What a command of ours ended with, where it could not do what it was asked."""
    prefix = f"mindalle {name}: "
    found = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
    return (found or list(lines) or [f"{name} does not start"])[-1]
