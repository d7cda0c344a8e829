"""`mindalle serve`: everything that is needed, on this machine."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from service import logs
from service.commands import flags
from service.local import supervisor

_FLAGS = (*flags.HTTP, *flags.MODEL, *flags.WORKER, *flags.OWN_REDIS)


def add_arguments(parser: ArgumentParser) -> None:
    """Flags that win over the environment, for all processes together."""
    flags.add(parser, *_FLAGS)


def run(args: Namespace) -> int:
    """Serve until Ctrl-C."""
    loaded = flags.load(args, *_FLAGS)
    is_chosen = "log_format" in loaded.model_fields_set
    style = loaded.log_format if is_chosen else "text"
    logs.configure("serve", level=loaded.log_level, style=style)
    return supervisor.serve(loaded, flags.variables(args, *_FLAGS))
