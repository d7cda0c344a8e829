"""What temperature, top_k and top_p do to what a model draws, in words for whoever asks a server.

A family whose draws are not simply codes by their logits says so itself (`Worded`). Knows no torch.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from models.configs.preset import Preset

_CODES = "the codes at each place"


@runtime_checkable
class Worded(Protocol):
    """A stage 2's shape that says what is drawn."""

    @property
    def draws(self) -> str: ...  # a few words that stand behind "of"


def filter_words(preset: Preset) -> tuple[tuple[str, str], ...]:
    """Each parameter's name and its meaning for this model."""
    what = preset.stage2.draws if isinstance(preset.stage2, Worded) else _CODES
    divides = f"Divides the logarithms of the probabilities of {what}"
    return (
        ("temperature", f"{divides}: below 1 the likely ones gain, 1 changes nothing."),
        ("top_k", f"Leaves the k most probable of {what}, and what is as probable as the last."),
        ("top_p", f"Leaves the most probable of {what}, until their sum reaches p."),
    )
