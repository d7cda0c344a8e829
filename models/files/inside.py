"""Whether a name that somebody wrote stays inside the folder that it is looked for in.

By the name alone: links in a folder are its owner's. Opens nothing.
"""

from __future__ import annotations

from pathlib import PurePath


def is_inside(name: str) -> bool:
    """False for a whole path, one that leads upwards, and what can be no file's name."""
    path = PurePath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name
