"""What is asked of every stage 2's shape, and what a prompt may be. Knows no torch and no prior."""

from __future__ import annotations

from dataclasses import Field
from typing import Any, ClassVar, Literal, Protocol

PrefixKind = Literal["text", "class", "none"]
Prompt = str | int | None  # text, a class, or nothing: as the model's `prompt_kind` says


class PriorConfig(Protocol):
    """What every stage 2's shape answers, whatever its own fields are."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # Any: as dataclasses declare it

    @property
    def prompt_kind(self) -> PrefixKind: ...  # what it is conditioned on
    @property
    def prompt_len(self) -> int: ...  # ids that make a prompt, padding included
    @property
    def prompt_vocab_size(self) -> int: ...  # different ids: text tokens, classes, or 1
    @property
    def num_steps(self) -> int: ...  # that make one image
    @property
    def vocab_sizes(self) -> tuple[int, ...]: ...  # codes to draw from, at each depth of a step
    @property
    def summary(self) -> str: ...  # its size in a few words, for people

    def row_bytes(self, number_bytes: int) -> int:
        """Memory that one row's state takes, with numbers of so many bytes."""
