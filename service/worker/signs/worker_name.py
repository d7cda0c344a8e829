"""A worker's name among the workers: the one that is wanted, unless another process goes by it.

Knows how one process tells that another has ended, and no Redis.
"""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PID_SPACE = Path("/proc/self/ns/pid")


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told from every other on any machine. `pid_space`: where its number has a meaning;
    empty when that is not known.
    """

    host: str
    pid_space: str
    pid: int
    nonce: str

    @classmethod
    def of_this_process(cls) -> Self:
        """Anew at each call: one process may be several workers, in tests."""
        return cls(socket.gethostname(), _pid_space(), os.getpid(), secrets.token_hex(8))

    def __str__(self) -> str:
        return f"{self.pid} {self.nonce} {self.pid_space} {self.host}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None for what no process of this release has written."""
        pid, _, rest = text.partition(" ")
        nonce, _, rest = rest.partition(" ")
        pid_space, _, host = rest.partition(" ")
        return cls(host, pid_space, int(pid), nonce) if pid.isdecimal() and host else None

    def has_ended(self) -> bool:
        """True when it was on this machine and is no more; False where that can't be told."""
        here = (socket.gethostname(), _pid_space())
        if (self.host, self.pid_space) != here or not self.pid_space:
            return False
        return not Path(f"/proc/{self.pid}").exists()


def _pid_space() -> str:
    try:
        return str(_PID_SPACE.readlink())
    except OSError:
        return ""


def name_of_its_own(wanted: str) -> str:
    """Another name for the process that comes second."""
    return f"{wanted}-{secrets.token_hex(3)}"
