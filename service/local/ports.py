"""Ports of this machine: whether one can be listened on, and how to reach who listens there."""

from __future__ import annotations

import errno
import socket

from service.errors import StartRefused

_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # addresses to listen on → to call


def probe(host: str, port: int) -> int:
    """The port, or a free one in place of 0. OSError when nobody could listen there now."""
    try:
        found = {entry[0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except UnicodeError:  # a label that is empty or too long, as in 127.0.0..1
        raise socket.gaierror(socket.EAI_NONAME, "it is no host's name") from None
    family = socket.AF_INET if socket.AF_INET in found else socket.AF_INET6
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        return int(listener.getsockname()[1])


def claim(settings: str, host: str, port: int) -> int:
    """The port of two settings, named by their beginning, such as MINDALLE_API__.

    StartRefused, with the name of the one at fault, when somebody else has it or the host is none.
    """
    try:
        return probe(host, port)
    except OSError as error:
        variable = at_fault(settings, error)
        raise StartRefused(f"{variable}: can't listen on {host}:{port}: {error.strerror}") from None


def at_fault(settings: str, error: OSError) -> str:
    """Which of the two settings an error of `probe` blames."""
    is_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
    return f"{settings}HOST" if is_host else f"{settings}PORT"


def url_of(host: str, port: int) -> str:
    """Where a program on this machine finds the server that listens there."""
    local = _LOCAL.get(host, host)
    return f"http://[{local}]:{port}" if ":" in local else f"http://{local}:{port}"
