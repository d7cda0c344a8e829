"""Ports of this machine: whether one can be listened on, and how to reach who listens there."""

from __future__ import annotations

import socket

from service.config.listening import family, refusal
from service.errors import StartRefused

_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # addresses to listen on → to call


def probe(host: str, port: int) -> int:
    """The port, or a free one in place of 0. OSError when nobody could listen there now."""
    with socket.socket(family(host)) as listener:
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
        raise StartRefused(refusal(settings, host, port, error)) from None


def url_of(host: str, port: int) -> str:
    """Where a program on this machine finds the server that listens there."""
    local = _LOCAL.get(host, host)
    return f"http://[{local}]:{port}" if ":" in local else f"http://{local}:{port}"
