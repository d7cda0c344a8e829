from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from models.configs.codec import CodecConfig
from models.configs.views import View
from models.pixel_chunks import PixelChunks, exact_chunks


class Shape:
    """Of a codec whose pictures are its coarsest codes."""

    views = View("depth", "1", 1), View("depth", "2", 2)
    code_shape, vocab_sizes = (6, 2), (9, 9)

    def __init__(self, side: int) -> None:
        self.size = side, side


class Painter:
    """A codec that rounds by how many pictures there are and who paints, as kernels may."""

    code_shape = 6, 2

    def __init__(
        self, odd: set[int], *, team: bool = False, depths: tuple[int, ...] = (2,)
    ) -> None:
        self.odd, self.team, self.depths, self.seen = odd, team, depths, list[int]()

    def encode(self, pixels: Tensor) -> Tensor:
        raise NotImplementedError

    def prepare(self) -> None:
        pass

    def pixels(self, codes: Tensor) -> Tensor:
        self.seen.append(len(codes))
        out = codes[..., :1].float().mT[:, :, None].expand(-1, 3, -1, -1).clone()
        has_team = torch.get_num_threads() > 1
        if len(codes) in self.odd and has_team == self.team and codes.shape[-1] in self.depths:
            out[-1] += 1e-6
        return out


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def found(painter: Painter, side: int = 64) -> PixelChunks:
    shape: CodecConfig = Shape(side)  # type: ignore[assignment]  # no dataclass, but all that is read
    return exact_chunks(painter, shape)


def test_sizes_that_give_the_same_bits_are_kept() -> None:
    assert found(Painter(set())).sizes == (1, 2, 4)
    assert found(Painter({4})).sizes == (1, 2)
    assert found(Painter({2})).sizes == (1, 4)
    assert found(Painter({2, 4})).sizes == (1,)


def test_a_size_must_keep_the_bits_of_coarser_views_too() -> None:
    assert found(Painter({4}, depths=(1,))).sizes == (1, 2)


def test_the_sizes_are_the_same_however_many_threads_there_are(two_threads: None) -> None:
    assert found(Painter({2})).sizes == (1, 4)
    assert found(Painter({2, 4}, team=True)).sizes == (1, 2, 4)
    assert torch.get_num_threads() == 2


def test_a_team_of_threads_makes_pictures_one_by_one(two_threads: None) -> None:
    chunks = found(Painter(set()))
    assert chunks.here().sizes == (1,)
    torch.set_num_threads(1)
    assert chunks.here() == chunks
    assert chunks.sizes == (1, 2, 4)


def test_sizes_that_were_given_hold_for_a_team_too(two_threads: None) -> None:
    assert PixelChunks((4,)).here().sizes == (4,)


def test_large_pictures_are_made_one_by_one_and_nothing_is_tried() -> None:
    painter = Painter(set())
    assert found(painter, side=256).sizes == (1,)
    assert not painter.seen


@pytest.mark.parametrize(
    ("count", "num_makers", "parts"),
    [(4, 1, [4]), (4, 2, [2, 2]), (4, 4, [1, 1, 1, 1]), (5, 2, [4, 1]), (16, 2, [4] * 4)],
)
def test_no_maker_gets_more_at_once_than_its_share(
    count: int, num_makers: int, parts: list[int]
) -> None:
    codes = torch.zeros(count, 6, 1)
    assert [len(part) for part in PixelChunks((1, 2, 4)).split(codes, num_makers)] == parts


@pytest.mark.parametrize("sizes", [(1,), (1, 2, 4), (2, 4), (1, 4), (8,)])
def test_any_number_of_pictures_is_made_in_these_sizes_and_in_order(sizes: tuple[int, ...]) -> None:
    chunks = PixelChunks(sizes)
    for count in range(1, 12):
        codec, codes = Painter(set()), torch.arange(count * 6).view(count, 6, 1)
        parts = chunks.split(codes)
        pixels = [chunks.pixels(codec, part) for part in parts]
        assert set(codec.seen) <= set(sizes)
        assert sum(codec.seen) < count + min(sizes)  # at most one is filled up, by the least
        assert torch.equal(torch.cat([codes[:0], *parts]), codes)
        assert [len(part) for part in parts] == [len(made) for made in pixels]
        assert torch.equal(torch.cat(pixels)[:, 0, 0], codes[..., 0].float())


def test_no_codes_are_one_part_without_pictures() -> None:
    (part,) = PixelChunks((2, 4)).split(torch.zeros(0, 6, 1))
    assert PixelChunks((2, 4)).pixels(Painter(set()), part).shape == (0, 3, 1, 6)
