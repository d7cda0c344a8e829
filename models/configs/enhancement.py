"""An enhancement: finer codes over those of finished rows, drawn by a model of its own.

Which upsampler a preset has, of what shape, and how it is drawn from. Knows no torch and no
upsampler by name: `families` registers those.
"""

from __future__ import annotations

from dataclasses import Field, dataclass
from typing import Annotated, Any, ClassVar, Protocol

from annotated_types import Gt


class UpsamplerConfig(Protocol):
    """What every upsampler's shape answers, whatever its own fields are."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # Any: as dataclasses declare it

    @property
    def size(self) -> tuple[int, int]: ...  # width and height of the pictures, pixels
    @property
    def coarse_shape(self) -> tuple[int, int]: ...  # the codes that it reads: steps T, depth D
    @property
    def coarse_sizes(self) -> tuple[int, ...]: ...  # how many such codes there are at each depth
    @property
    def code_shape(self) -> tuple[int, int]: ...  # the codes that it draws: T, and K at each step
    @property
    def vocab_size(self) -> int: ...  # how many finer codes there are
    @property
    def summary(self) -> str: ...  # its size in a few words, for people


@dataclass(frozen=True, slots=True)
class Enhancement:
    """A preset's upsampler; `folder` is where its weights lie below the checkpoint's own.

    With `is_default` a request that doesn't say has its pictures enhanced. Temperature and cuts are
    those of the finer codes alone. With `is_mean` none is drawn: each place gets the mean of all
    finer codes' vectors by their chances. `codec_sha256` is the fingerprint of the codec that it
    was trained over, empty where nobody noted it.
    """

    shape: UpsamplerConfig
    folder: str = ""
    is_default: bool = True
    temperature: float = 1.0
    top_k: Annotated[int, Gt(0)] | None = None
    top_p: float | None = None
    is_mean: bool = False
    codec_sha256: str = ""
