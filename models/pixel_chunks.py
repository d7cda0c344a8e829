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
    by_one_thread: bool = False  # only there they give the same bits

    def here(self) -> PixelChunks:
        """For the calling thread; with a team of threads it makes pictures one by one."""
        has_team = self.by_one_thread and torch.get_num_threads() > 1
        return PixelChunks((1,)) if has_team else self

    def split(self, codes: Tensor, num_makers: int = 1) -> list[Tensor]:
        """Codes [n, T, D] of any number of pictures → parts of these sizes, the last maybe less.

        Makers that work side by side share them: none gets more at once than its share, rounded up
        to a size.
        """
        most = self._holding(-(-len(codes) // num_makers))
        counts, left = list[int](), len(codes)
        for size in reversed([size for size in self.sizes if size <= most]):
            whole, left = divmod(left, size)
            counts += [size] * whole
        if left:
            counts.append(left)
        return list(torch.split(codes, counts or [0]))

    def pixels(self, codec: Codec, codes: Tensor) -> Tensor:
        """One of the parts through the codec, filled up for that → [n, 3, H, W]."""
        lacking = self._holding(len(codes)) - len(codes)
        return codec.pixels(F.pad(codes, (0, 0, 0, 0, 0, lacking)))[: len(codes)]

    def _holding(self, count: int) -> int:
        """The smallest size that holds so many, or the largest."""
        return next((size for size in self.sizes if size >= count), self.sizes[-1])


@torch.inference_mode()
def exact_chunks(codec: Codec, config: CodecConfig) -> PixelChunks:
    """For a CPU: those of which pictures come out as one by one, coarser views as well.

    By one thread, as whoever makes many pictures has them made: what is found must not depend on
    how many threads there are. One random picture, repeated, is made at each size and compared bit
    by bit.
    """
    width, height = config.size
    if width * height >= _LARGE:
        return PixelChunks((1,))
    generator = torch.Generator().manual_seed(0)
    steps, depth = config.code_shape
    codes = torch.randint(min(config.vocab_sizes), (1, steps, depth), generator=generator)
    depths = {depth, *(view.depth for view in config.views)}
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        same = [_same_bits(codec, codes[..., :count]) for count in depths]
    finally:
        torch.set_num_threads(before)
    return PixelChunks(tuple(sorted(set.intersection(*same))), by_one_thread=True)


def _same_bits(codec: Codec, codes: Tensor) -> set[int]:
    """Of the ladder those that make each picture as it is alone."""
    alone = codec.pixels(codes)
    made = {size: codec.pixels(codes.expand(size, -1, -1)) for size in _LADDER if size > 1}
    return {1, *(size for size, pixels in made.items() if bool((pixels == alone).all()))}
