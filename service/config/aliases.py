"""Other names for models, as an operator writes them: `name=preset`, for tools whose model's name
can't be changed. Knows no preset: whether one exists, the catalog says.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_EXAMPLE = "such as dall-e-3=emoji,gpt-image-1=emoji"
_MAX_NAME = 200  # as long as a request's model may be


def read_aliases(text: str) -> Mapping[str, str]:
    """Alias → preset, from a comma-separated list.

    Raises:
        ValueError: an entry is no pair, or a name stands twice.
    """
    aliases: dict[str, str] = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        alias, _, preset = (part.strip() for part in entry.partition("="))
        if not alias or not preset or "=" in preset or len(alias) > _MAX_NAME:
            raise ValueError(f"{entry!r} is not name=preset, {_EXAMPLE}")
        if aliases.setdefault(alias, preset) != preset:
            raise ValueError(f"{alias!r} can't be both {aliases[alias]!r} and {preset!r}")
    return MappingProxyType(aliases)


def check_aliases(aliases: Mapping[str, str], presets: frozenset[str]) -> None:
    """Raise ValueError for an alias of no preset, or one that hides a preset."""
    for alias, preset in aliases.items():
        if preset not in presets:
            raise ValueError(
                f"there is no preset {preset!r}; there are {', '.join(sorted(presets))}"
            )
        if alias in presets:
            raise ValueError(f"{alias!r} is a preset itself: choose another name")
