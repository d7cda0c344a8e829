"""`mindalle config show|table`: every setting with its value, secrets hidden; or the docs' page."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from service import settings
from service.commands.settings_table import settings_page


def add_arguments(parser: ArgumentParser) -> None:
    """What to do, and how much to say."""
    parser.add_argument(
        "action", choices=["show", "table"], help="show: values in force; table: the docs' page"
    )
    parser.add_argument("--describe", action="store_true", help="say what each setting means")


def run(args: Namespace) -> None:
    """Print the settings as a shell would set them."""
    if args.action == "table":
        sys.stdout.write(settings_page())
        return
    loaded = settings.load()
    about = dict(settings.describe())
    for name, value in settings.show(loaded).items():
        if args.describe:
            sys.stdout.write(f"# {about[name]}\n")
        sys.stdout.write(f"{name}={value}\n")
