from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from models.pipeline import Pipeline, load
from models.pixel_chunks import PixelChunks
from models.rerank.preprocess import CHUNK
from models.stage1.codec import Codec
from service.worker import offline
from service.worker.cpu_share import CpuShare, use_threads
from service.worker.pictures.picture_makers import PictureMakers
from tests.service.makers import make_recipe


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load("emoji")


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """A thread as the worker's finishing thread: without a team of its own."""
    with ThreadPoolExecutor(1, initializer=use_threads, initargs=(1,)) as executor:
        yield executor


class Counting:
    """A codec that notes how many pictures it makes at once."""

    def __init__(self, codec: Codec) -> None:
        self.codec, self.counts = codec, list[int]()
        self.code_shape, self.prepare = codec.code_shape, codec.prepare

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.codec.encode(pixels)

    def pixels(self, codes: torch.Tensor) -> torch.Tensor:
        self.counts.append(len(codes))
        return self.codec.pixels(codes)


def _codes(count: int) -> torch.Tensor:
    return torch.randint(1024, (count, 64, 1), generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("count", [1, 5, 16, 2 * CHUNK + 3])
def test_the_split_changes_no_bit(
    pipeline: Pipeline, executor: ThreadPoolExecutor, count: int
) -> None:
    text = pipeline.text_features("a red heart")

    def make(total: int) -> tuple[torch.Tensor, list[float | None]]:
        makers = PictureMakers(pipeline, CpuShare(total, can_split=True))
        with makers.at_work():
            pixels = makers.pixels(_codes(count))
            scores = makers.scores(text, pixels)
        makers.close()
        return pixels, scores

    pixels, scores = executor.submit(make, 1).result()
    assert pixels.shape == (count, 3, 64, 64)
    assert len(scores) == count
    for total in (2, 3):
        again, scores_again = executor.submit(make, total).result()
        assert torch.equal(again, pixels)
        assert scores_again == scores
    torch.testing.assert_close(pixels, pipeline.pixels(_codes(count)))


def test_threads_that_are_free_share_few_pictures(pipeline: Pipeline) -> None:
    codec = Counting(pipeline.stage1)
    chunks = PixelChunks((1, 2, 4), by_one_thread=True)
    makers = PictureMakers(
        replace(pipeline, stage1=codec, chunks=chunks), CpuShare(2, can_split=True)
    )
    with makers.at_work():
        makers.pixels(_codes(4))
    makers.close()
    assert codec.counts == [2, 2]


def test_more_threads_take_more_pictures_at_once(pipeline: Pipeline) -> None:
    makers = PictureMakers(pipeline, CpuShare(3, can_split=True))
    assert makers.at_once == CHUNK
    with makers.at_work():
        assert makers.at_once == 3 * CHUNK
    makers.close()


def test_a_model_without_a_scorer_gives_none() -> None:
    makers = PictureMakers(load("tiny"), CpuShare(2, can_split=True))
    with makers.at_work():
        assert makers.scores(None, torch.zeros(11, 3, 32, 32)) == [None] * 11
    makers.close()


def test_an_error_in_a_thread_arrives(pipeline: Pipeline) -> None:
    makers = PictureMakers(pipeline, CpuShare(2, can_split=True))
    with makers.at_work(), pytest.raises((RuntimeError, IndexError)):
        makers.pixels(torch.full((4, 63, 1), 1))
    makers.close()


@pytest.mark.parametrize("total", [1, 2])
def test_every_few_pictures_are_told(
    pipeline: Pipeline, executor: ThreadPoolExecutor, total: int
) -> None:
    codes, moves = _codes(16), list[int]()

    def make() -> None:
        makers = PictureMakers(pipeline, CpuShare(total, can_split=True))
        makers.on_move = lambda: moves.append(1)
        with makers.at_work():
            makers.pixels(codes)
        makers.close()

    executor.submit(make).result()
    assert len(moves) == len(pipeline.chunks.split(codes)) / total > 1


def test_a_picture_drawn_here_is_the_workers_to_the_byte(pipeline: Pipeline) -> None:
    recipe = make_recipe(prompt="a red heart", num_candidates=4, n=4, temperature=0.6)

    def draw(num_threads: int) -> list[bytes]:
        use_threads(num_threads)
        pictures = offline.draw(pipeline, recipe, range(4), num_rows=8)
        return [offline.encode(recipe, [p], "png", has_prompt=True) for p in pictures]

    files = []
    for num_threads in (1, 2, 3):
        with ThreadPoolExecutor(1) as here:
            files.append(here.submit(draw, num_threads).result())
    assert files[0] == files[1] == files[2]
