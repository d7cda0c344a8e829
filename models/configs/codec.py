"""What is asked of every stage 1's shape. Knows no torch and no codec."""

from __future__ import annotations

from dataclasses import Field
from typing import Any, ClassVar, Protocol, runtime_checkable

from models.configs.views import View


class CodecConfig(Protocol):
    """What every stage 1's shape answers, whatever its own fields are."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # Any: as dataclasses declare it

    @property
    def size(self) -> tuple[int, int]: ...  # width and height of its pictures, pixels
    @property
    def code_shape(self) -> tuple[int, int]: ...  # codes of one picture: steps T, depth D
    @property
    def vocab_sizes(self) -> tuple[int, ...]: ...  # how many codes it has at each depth
    @property
    def views(self) -> tuple[View, ...]: ...  # coarse to fine; none of a codec without coarse ones


@runtime_checkable
class Levelled(Protocol):
    """What a shape answers besides whose steps have several codes a level."""

    @property
    def codes_per_level(self) -> tuple[int, ...]: ...  # in a step, the coarsest first


def levels_of(codec: CodecConfig) -> tuple[int, ...]:
    """How many of a step's codes each level has, the coarsest first; mostly one."""
    return codec.codes_per_level if isinstance(codec, Levelled) else (1,) * codec.code_shape[1]
