"""`mindalle api`: the HTTP server. Loads no torch."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from service import logs
from service.api import server
from service.commands import flags
from service.local import ports

_FLAGS = (*flags.HTTP, *flags.MODEL, *flags.REDIS)


def add_arguments(parser: ArgumentParser) -> None:
    """Flags that win over the environment."""
    flags.add(parser, *_FLAGS)


def run(args: Namespace) -> None:
    """Serve until a signal."""
    loaded = flags.load(args, *_FLAGS)
    logs.configure("api", level=loaded.log_level, style=loaded.log_format)
    ports.claim("MINDALLE_API__", loaded.api.host, loaded.api.port)
    server.serve(loaded)
