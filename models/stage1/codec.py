"""What the house asks of a stage 1, whatever is inside: pixels ↔ codes."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Codec(Protocol):
    """Pixels in 0..1 [B, 3, H, W] ↔ codes [B, T, D] in the order in which they are drawn."""

    @property
    def code_shape(self) -> tuple[int, int]:
        """T and D of one picture."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, H, W] → codes [B, T, D] int64."""

    def pixels(self, codes: Tensor) -> Tensor:
        """Codes [B, T, d] → pixels [B, 3, H, W], float32.

        Of fewer depths than D it makes the coarse picture that they stand for.
        """

    def prepare(self) -> None:
        """Lay the weights out for making pixels; once, when they are loaded."""


@runtime_checkable
class Ordered(Protocol):
    """A codec whose steps may go over the picture in another order than line by line."""

    order: Tensor  # [T] int64: the place, counted line by line from the top left, of each step
