"""The model that ships: small enough, intact, as its preset says, and able to draw a heart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import avg_pool2d

from models.drawing.sampling import RowParams
from models.files import checkpoint as checkpoints
from models.pipeline import Pipeline, load
from models.presets import WEIGHTS_FOLDER, get_preset

FOLDER = WEIGHTS_FOLDER / "emoji"
MAX_BYTES = 40_000_000


@pytest.fixture(scope="module")
def emoji() -> Pipeline:
    return load("emoji")


def test_it_is_small_and_intact() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAX_BYTES
    opened = checkpoints.open_checkpoint(FOLDER, verify_sha256=True)
    assert opened.preset == replace(get_preset("emoji"), weights=None)


def test_it_has_its_licence_notes() -> None:
    card = (FOLDER / "README.md").read_text("utf-8")
    notice = (FOLDER / "NOTICE").read_text("utf-8")
    assert all(name in card for name in ("noto", "fluent-emoji", "fxemoji", "emojibase-data"))
    assert all(owner in notice for owner in ("Google", "Microsoft", "Mozilla", "Unicode"))


def test_a_heart_is_red_on_white_and_the_ranker_knows_it(emoji: Pipeline) -> None:
    sampling = get_preset("emoji").sampling
    rows = [RowParams(1, n, sampling.temperature) for n in range(4)]
    best = emoji.generate("red heart", rows)[0]
    red, green, blue = best.pixels[:, 24:40, 24:40].mean((1, 2)).tolist()
    assert red > 0.6 > max(green, blue)
    assert best.pixels[:, :4, :4].min() > 0.9
    texts = [emoji.text_features(name) for name in ("red heart", "green apple", "camera")]
    scores = [emoji.scores(text, best.pixels[None])[0] for text in texts]
    assert scores[0] == max(score for score in scores if score is not None)


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
