"""Paths as people write them, in settings and in flags alike: `~` is a home.

A home is looked up only where a path asks for one, since a user may have none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator


def expanded(path: Path) -> Path:
    """The path with `~` or `~name` at its start replaced by that home.

    Raises:
        ValueError: nobody knows that home, and the path as it stands leads nowhere.
    """
    whole = Path(os.path.expanduser(path))
    if str(whole).startswith("~") and not whole.exists():
        raise ValueError(f"{in_text(path)}: there is no such home folder here; give the whole path")
    return whole


def in_text(path: Path) -> str:
    """A path for a message of a setting, which can't hold bytes that are no UTF-8: escaped."""
    return str(path).encode(errors="backslashreplace").decode()


UserPath = Annotated[Path, AfterValidator(expanded)]
