"""Scripts of the release whose workers claimed whole jobs, as tests/data/before_parts keeps them.

Knows nothing of what they do.
"""

from __future__ import annotations

from pathlib import Path

from service.broker.scripts import joined

_FOLDER = Path(__file__).parents[1] / "data/before_parts"


def source_before_parts(name: str) -> tuple[str, str] | None:
    """The script and its SHA-1; None of one that is as it was."""
    if (_FOLDER / f"{name}.lua").exists():
        return joined(_FOLDER, "prelude", name)
    return None
