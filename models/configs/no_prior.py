"""What stands in a stage 2's place where a folder holds a codec alone. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from models.configs.codec import CodecConfig
from models.configs.numbers import Size
from models.configs.prior import PrefixKind


@dataclass(frozen=True, slots=True)
class NoPriorConfig:
    """It answers as every prior's shape does, and nothing can be drawn with it."""

    num_steps: Size
    vocab_sizes: tuple[Size, ...]

    prompt_kind: ClassVar[PrefixKind] = "none"
    prompt_len: ClassVar[int] = 1
    prompt_vocab_size: ClassVar[int] = 1
    summary: ClassVar[str] = "no stage 2"

    @classmethod
    def of(cls, codec: CodecConfig) -> NoPriorConfig:
        """Beside this codec."""
        return cls(codec.code_shape[0], codec.vocab_sizes)

    def row_bytes(self, number_bytes: int) -> int:
        """No rows are drawn."""
        return 0 * number_bytes
