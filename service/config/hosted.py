"""The models of one worker, as an operator writes them: `preset` or `preset=folder of weights`.

Knows no preset: whether one exists, the worker finds at its start.
"""

from __future__ import annotations

from pathlib import Path

from service.config.paths import expanded

_EXAMPLE = "such as emoji,mindalle-1.3b=/weights/1.3b"


def read_hosted(text: str) -> dict[str, Path | None]:
    """Preset → folder of its weights, None for its own place, of a comma-separated list.

    Raises:
        ValueError: an entry is neither, a preset stands twice, or nobody knows a folder's home.
    """
    hosted: dict[str, Path | None] = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        name, equals, folder = (part.strip() for part in entry.partition("="))
        if not name or bool(equals) != bool(folder):
            raise ValueError(f"{entry!r} is neither a preset nor preset=folder, {_EXAMPLE}")
        if name in hosted:
            raise ValueError(f"{name!r} stands twice")
        hosted[name] = expanded(Path(folder)) if folder else None
    return hosted
