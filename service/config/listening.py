"""An address to listen on, as two settings give it: which kind it is, and which of them is wrong.

Knows no server; `local.ports` tries an address, and servers bind their own.
"""

from __future__ import annotations

import errno
import socket


def family(host: str | None) -> socket.AddressFamily:
    """IPv4 where the host has it, else IPv6; all interfaces for None.

    Raises:
        socket.gaierror: it is no host.
    """
    try:
        found = {entry[0] for entry in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)}
    except UnicodeError:  # a label that is empty or too long, as in 127.0.0..1
        raise socket.gaierror(socket.EAI_NONAME, "it is no host's name") from None
    return socket.AF_INET if socket.AF_INET in found else socket.AF_INET6


def refusal(settings: str, host: str, port: int, error: OSError) -> str:
    """Why nobody can listen there, by the name of the setting at fault; see `at_fault`."""
    return f"{at_fault(settings, error)}: can't listen on {host}:{port}: {error.strerror}"


def at_fault(settings: str, error: OSError) -> str:
    """Which of two settings an error blames; they are named by their beginning: MINDALLE_API__."""
    is_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
    return f"{settings}HOST" if is_host else f"{settings}PORT"
