"""Ports of this machine: whether one can be listened on, and how to reach who listens there."""

from __future__ import annotations

import socket

from service.errors import StartRefused

_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # addresses to listen on → to call


def probe(host: str, port: int) -> int:
    """The port, or a free one in place of 0. OSError when nobody could listen there now."""
    found = {entry[0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    family = socket.AF_INET if socket.AF_INET in found else socket.AF_INET6
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        return int(listener.getsockname()[1])


def claim(variable: str, host: str, port: int) -> int:
    """The port of a setting. StartRefused, with the setting's name, when somebody else has it."""
    try:
        return probe(host, port)
    except OSError as error:
        raise StartRefused(f"{variable}: can't listen on {host}:{port}: {error.strerror}") from None


def url_of(host: str, port: int) -> str:
    """Where a program on this machine finds the server that listens there."""
    local = _LOCAL.get(host, host)
    return f"http://[{local}]:{port}" if ":" in local else f"http://{local}:{port}"
