"""The file that a command puts a picture into: its format, by its name, and whether it can exist.

All that can be told beforehand is, since drawing takes long. Knows nothing of what is drawn.
"""

from __future__ import annotations

import os
from pathlib import Path

from service.cli import CommandError
from service.jobs import OutputFormat

_FORMATS: dict[str, OutputFormat] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
}


def format_of(path: Path) -> OutputFormat:
    """Of a picture that is to be written there, by its name. CommandError where it can't be."""
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        raise CommandError(f"{path}: the name must end in {', '.join(_FORMATS)}", 2)
    check_place(path)
    return found


def check_place(path: Path) -> None:
    """CommandError, or the system's own OSError, where no file can be written."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise CommandError(f"{path.parent} is no folder", 2)
    if path.is_dir():
        raise CommandError(f"{path} is a folder; a file is wanted", 2)
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise CommandError(f"{path} can't be written there", 2)
