"""How a checkpoint is refused: in one line, which a person reads."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from models.errors import CheckpointError


def refusal(work: Callable[[], object]) -> str:
    """What a person reads: one line."""
    with pytest.raises(CheckpointError) as caught:
        work()
    message = str(caught.value)
    assert "\n" not in message
    return message
