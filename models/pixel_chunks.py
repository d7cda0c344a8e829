"""How many pictures go through stage 1 at once, so that no picture's bytes depend on the others.

Kernels are chosen by how many pictures there are, and may sum in another order. A GPU gets whole
chunks, the last one filled up. A CPU makes large pictures one by one; small ones leave it waiting
for the next operation to start, so several go at once where that is found to keep every bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.configs.codec import CodecConfig
from models.stage1.codec import Codec

_LADDER = (1, 2, 4)
# Of pictures this large or larger one is enough to keep a CPU busy.
_LARGE = 256 * 256


@dataclass(frozen=True, slots=True)
class PixelChunks:
    """The numbers of pictures, ascending, that give each the same bits."""

    sizes: tuple[int, ...]

    def split(self, codes: Tensor) -> list[Tensor]:
        """Codes [n, T, D] of any number of pictures → parts of these sizes, the last maybe less."""
        counts, left = list[int](), len(codes)
        for size in reversed(self.sizes):
            whole, left = divmod(left, size)
            counts += [size] * whole
        if left:
            counts.append(left)
        return list(torch.split(codes, counts)) if counts else []

    def pixels(self, codec: Codec, codes: Tensor) -> Tensor:
        """One of the parts through the codec, filled up for that → [n, 3, H, W]."""
        lacking = min(size for size in self.sizes if size >= len(codes)) - len(codes)
        return codec.pixels(F.pad(codes, (0, 0, 0, 0, 0, lacking)))[: len(codes)]


@torch.inference_mode()
def exact_chunks(codec: Codec, config: CodecConfig) -> PixelChunks:
    """For a CPU: those of which pictures come out as from the most at once, by one thread and by
    all of now.

    One random picture, repeated, is made at each size and compared bit by bit.
    """
    width, height = config.size
    if width * height >= _LARGE:
        return PixelChunks((1,))
    generator = torch.Generator().manual_seed(0)
    shape = 1, *config.code_shape
    codes = torch.randint(min(config.vocab_sizes), shape, generator=generator)
    before = torch.get_num_threads()
    try:
        same = [_same_bits(codec, codes, threads) for threads in {1, before}]
    finally:
        torch.set_num_threads(before)
    return PixelChunks(tuple(sorted(set.intersection(*same))) or (1,))


def _same_bits(codec: Codec, codes: Tensor, num_threads: int) -> set[int]:
    """Of the ladder; empty where not even the pictures of the most at once are equal."""
    torch.set_num_threads(num_threads)
    made = {size: codec.pixels(codes.expand(size, -1, -1)) for size in _LADDER}
    wanted = made[_LADDER[-1]][:1]
    same = {size for size, pixels in made.items() if bool((pixels == wanted).all())}
    return same if _LADDER[-1] in same else set()
