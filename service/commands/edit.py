"""`mindalle edit IMAGE PROMPT`: a part of a picture drawn anew, here or by a running service."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from service.commands import generate, source_files
from service.commands.source_files import SourceFiles


def add_arguments(parser: ArgumentParser) -> None:
    """The picture, what is drawn anew, and all that `generate` takes."""
    source_files.add_arguments(parser)
    source_files.add_mask(parser)
    generate.add_arguments(parser)


def run(args: Namespace) -> None:
    """Draw, write the file, print the scores."""
    generate.draw(args, SourceFiles.of(args))
