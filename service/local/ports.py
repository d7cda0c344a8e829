"""Ports of this machine: whether one can be listened on, and how to reach who listens there."""

from __future__ import annotations

import socket

_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # addresses to listen on → to call


def probe(host: str, port: int) -> int:
    """The port, or a free one in place of 0. OSError when nobody could listen there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        return int(listener.getsockname()[1])


def url_of(host: str, port: int) -> str:
    """Where a program on this machine finds the server that listens there."""
    local = _LOCAL.get(host, host)
    return f"http://[{local}]:{port}" if ":" in local else f"http://{local}:{port}"
