"""`mindalle serve`: everything that is needed, on this machine."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from service import logs, settings
from service.local import supervisor


def add_arguments(parser: ArgumentParser) -> None:
    """No flags: everything is a setting."""


def run(args: Namespace) -> int:
    """Serve until Ctrl-C."""
    loaded = settings.load()
    is_chosen = "log_format" in loaded.model_fields_set
    style = loaded.log_format if is_chosen else "text"
    logs.configure("serve", level=loaded.log_level, style=style)
    return supervisor.serve(loaded)
