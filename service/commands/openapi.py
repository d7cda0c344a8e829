"""`mindalle openapi`: the document that the server gives at /openapi.json."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace

from service.api.app import create_app
from service.settings import Settings


def add_arguments(parser: ArgumentParser) -> None:
    """None."""


def run(args: Namespace) -> None:
    """Print it, with the settings at their defaults."""
    document = create_app(Settings.model_construct()).openapi()
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
