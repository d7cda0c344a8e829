"""The models that ship: small enough, intact, as their presets say, and able to draw a heart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import avg_pool2d

from models.drawing.sampling import RowParams
from models.files import checkpoint as checkpoints
from models.pipeline import Picture, Pipeline, load
from models.presets.register import WEIGHTS_FOLDER, get_preset, shipped_presets

SHIPPED = shipped_presets()
MAX_BYTES = 45_000_000
MAX_BYTES_IN_ALL = 90_000_000


@pytest.fixture(scope="module")
def emoji() -> Pipeline:
    return load("emoji")


@pytest.fixture(scope="module")
def emoji_hq() -> Pipeline:
    return load("emoji-hq")


def num_bytes(name: str) -> int:
    files = (path for path in (WEIGHTS_FOLDER / name).rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files)


def test_two_ship_and_are_no_more_than_a_checkout_should_hold() -> None:
    assert SHIPPED == ("emoji", "emoji-hq")
    assert sum(num_bytes(name) for name in SHIPPED) <= MAX_BYTES_IN_ALL


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_small_and_intact(name: str) -> None:
    assert num_bytes(name) <= MAX_BYTES
    opened = checkpoints.open_checkpoint(WEIGHTS_FOLDER / name, verify_sha256=True)
    assert opened.preset == replace(get_preset(name), weights=None)


@pytest.mark.parametrize("name", SHIPPED)
def test_it_has_its_licence_notes(name: str) -> None:
    card = (WEIGHTS_FOLDER / name / "README.md").read_text("utf-8")
    notice = (WEIGHTS_FOLDER / name / "NOTICE").read_text("utf-8")
    assert all(name in card for name in ("noto", "fluent-emoji", "fxemoji", "emojibase-data"))
    assert all(owner in notice for owner in ("Google", "Microsoft", "Mozilla", "Unicode"))


def test_names_in_other_languages_have_their_licence_in_full() -> None:
    notice = (WEIGHTS_FOLDER / "emoji-hq" / "NOTICE").read_text("utf-8")
    assert "cldr-annotations-full" in notice
    assert "UNICODE LICENSE V3" in notice


def best_heart(pipeline: Pipeline, num_candidates: int) -> Picture:
    """The best red heart of a few, after a look at what no heart can lack."""
    preset = pipeline.preset
    rows = [RowParams(1, n, preset.sampling.temperature) for n in range(num_candidates)]
    levels = preset.codes_per_level
    best = pipeline.generate("red heart", [row.spread(levels) for row in rows])[0]
    side = best.pixels.shape[1] // 8
    red, green, blue = (
        best.pixels[:, 3 * side : 5 * side, 3 * side : 5 * side].mean((1, 2)).tolist()
    )
    assert red > 0.6 > max(green, blue)
    assert best.pixels[:, :4, :4].min() > 0.9
    return best


def assert_ranks_first(pipeline: Pipeline, picture: Picture, names: Sequence[str]) -> None:
    texts = [pipeline.text_features(name) for name in names]
    scores = [pipeline.scores(text, picture.pixels[None])[0] for text in texts]
    assert scores[0] == max(score for score in scores if score is not None)


def test_a_heart_is_red_on_white_and_the_ranker_knows_it(emoji: Pipeline) -> None:
    best = best_heart(emoji, 4)
    assert_ranks_first(emoji, best, ("red heart", "green apple", "camera"))


def test_the_larger_one_draws_it_with_four_times_the_pixels(emoji_hq: Pipeline) -> None:
    best = best_heart(emoji_hq, 2)
    assert best.pixels.shape == (3, 128, 128)
    assert_ranks_first(emoji_hq, best, ("red heart", "green apple", "camera"))


def test_words_it_never_saw_still_make_a_picture(emoji: Pipeline) -> None:
    picture = emoji.generate("zyxwv ∆ 42", [RowParams(1)])[0]
    assert picture.pixels.shape == (3, 64, 64)


def test_its_enhancement_stays_near_and_is_off_unless_asked_for(emoji: Pipeline) -> None:
    own = emoji.preset.enhancement
    assert own is not None
    assert not own.is_default
    picture = emoji.generate("red heart", [RowParams(1)])[0]
    coarse = emoji.pixels(picture.codes[None])
    assert torch.equal(picture.pixels, coarse[0])
    finer = emoji.enhanced(picture.codes[None], [RowParams(1)])
    assert finer.shape == coarse.shape
    assert float((finer - coarse).abs().max()) > 1 / 255
    apart = avg_pool2d(finer, 4) - avg_pool2d(coarse, 4)
    assert -10 * float(apart.square().mean().log10()) > 30  # dB
