"""What the house asks of an upsampler, whatever is inside: coarse codes → finer codes → pixels.

Its place is between the loop's codes and the picture: it reads rows that are finished, and what the
codec makes of them alone stays as it is.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Upsampler(Protocol):
    """Draws `code_shape` = (T, K) finer codes over coarse codes [B, T, D], all independently.

    Each row must compute the same bits whatever the rows beside it hold. Pixels are in 0..1.
    """

    @property
    def code_shape(self) -> tuple[int, int]: ...
    @property
    def vocab_size(self) -> int: ...

    def logits(self, codes: Tensor) -> Tensor:
        """Coarse codes [B, T, D] → logits [B, T, K, V] of the finer ones."""

    def encode(self, pixels: Tensor, coarse: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] and what their coarse codes make → finer codes [B, T, K]."""

    def pixels(self, finer: Tensor, coarse: Tensor) -> Tensor:
        """Finer codes [B, T, K] and coarse pictures [B, 3, H, W] → finer ones, float32."""

    def mean_pixels(self, chances: Tensor, coarse: Tensor) -> Tensor:
        """As `pixels`, of no codes but the mean of their vectors by chances [B, T, K, V]."""

    def prepare(self) -> None:
        """Lay the weights out for making pixels; once, when they are loaded."""
