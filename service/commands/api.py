"""`mindalle api`: the HTTP server. Loads no torch."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from service import logs, settings
from service.api import server


def add_arguments(parser: ArgumentParser) -> None:
    """Flags that win over the environment."""
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on")


def run(args: Namespace) -> None:
    """Serve until a signal."""
    given = {name: value for name in ("host", "port") if (value := getattr(args, name)) is not None}
    loaded = settings.load(**({"api": given} if given else {}))
    logs.configure("api", level=loaded.log_level, style=loaded.log_format)
    server.serve(loaded)
