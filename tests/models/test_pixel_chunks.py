from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from models.configs.codec import CodecConfig
from models.configs.views import View
from models.pixel_chunks import PixelChunks, exact_chunks


class Shape:
    """Of a codec whose pictures are its codes."""

    views: tuple[View, ...] = ()
    code_shape, vocab_sizes = (6, 1), (9,)

    def __init__(self, side: int) -> None:
        self.size = side, side


class Painter:
    """A codec that rounds by how many pictures there are and who paints, as kernels may."""

    code_shape = 6, 1

    def __init__(self, odd: set[int], *, alone_only: bool = False) -> None:
        self.odd, self.alone_only, self.seen = odd, alone_only, list[int]()

    def encode(self, pixels: Tensor) -> Tensor:
        raise NotImplementedError

    def prepare(self) -> None:
        pass

    def pixels(self, codes: Tensor) -> Tensor:
        self.seen.append(len(codes))
        out = codes.float().mT[:, :, None].expand(-1, 3, -1, -1).clone()
        if len(codes) in self.odd and (not self.alone_only or torch.get_num_threads() == 1):
            out[-1] += 1e-6
        return out


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def found(odd: set[int], side: int = 64, *, alone_only: bool = False) -> tuple[int, ...]:
    shape: CodecConfig = Shape(side)  # type: ignore[assignment]  # no dataclass, but all that is read
    return exact_chunks(Painter(odd, alone_only=alone_only), shape).sizes


def test_sizes_that_give_the_same_bits_are_kept() -> None:
    assert found(set()) == (1, 2, 4)
    assert found({1}) == (2, 4)
    assert found({2}) == (1, 4)


def test_where_the_most_at_once_differ_among_themselves_pictures_are_made_one_by_one() -> None:
    assert found({4}) == (1,)


def test_a_size_must_keep_the_bits_of_one_thread_too(two_threads: None) -> None:
    assert found({1}, alone_only=True) == (2, 4)
    assert found({4}, alone_only=True) == (1,)
    assert torch.get_num_threads() == 2


def test_large_pictures_are_made_one_by_one_and_nothing_is_tried() -> None:
    assert found(set(), side=256) == (1,)


@pytest.mark.parametrize("sizes", [(1,), (1, 2, 4), (2, 4), (1, 4), (8,)])
def test_any_number_of_pictures_is_made_in_these_sizes_and_in_order(sizes: tuple[int, ...]) -> None:
    chunks = PixelChunks(sizes)
    for count in range(12):
        codec, codes = Painter(set()), torch.arange(count * 6).view(count, 6, 1)
        parts = chunks.split(codes)
        pixels = [chunks.pixels(codec, part) for part in parts]
        assert set(codec.seen) <= set(sizes)
        assert sum(codec.seen) < count + min(sizes)  # at most one is filled up, by the least
        assert torch.equal(torch.cat([codes[:0], *parts]), codes)
        assert [len(part) for part in parts] == [len(made) for made in pixels]
        if count:
            assert torch.equal(torch.cat(pixels)[:, 0, 0], codes[..., 0].float())
