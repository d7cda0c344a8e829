"""Which art there is: an icon package's pictures, and sets that only a ranker learns from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.errors import ConfigError
from models.train.data.emoji.art import (
    ART_SETS,
    MODULES,
    MORE_SETS,
    NAMES,
    STYLES,
    Art,
    load_art,
)
from models.train.data.emoji.concepts import LIST, Concept, parse_list
from models.train.data.emoji.emoji_set import Selection
from models.train.data.sources import open_data


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Every set's package with one icon, a square of a grey of its own, and all names."""
    labels = [label for _, label, _ in parse_list(LIST.read_text("utf-8"))]
    rows = [{"label": label, "hexcode": f"{0x4E00 + i:04X}"} for i, label in enumerate(labels)]
    for index, (package, _) in enumerate([*((a.package, "") for a in STYLED), NAMES]):
        folder = tmp_path / MODULES / package
        folder.mkdir(parents=True)
        (folder / "package.json").write_text("{}")
        body = f'<path fill="rgb({10 * index},0,0)" d="M4 4h8v8H4z"/>'
        icons = {"icons": {"4e00": {"body": body}}, "width": 16, "height": 16}
        (folder / "icons.json").write_text(json.dumps(icons))
    (tmp_path / MODULES / NAMES[0] / "en").mkdir()
    (tmp_path / MODULES / NAMES[0] / "en" / "data.json").write_text(json.dumps(rows))
    return tmp_path


STYLED = (*ART_SETS, *MORE_SETS)


def test_only_who_asks_for_more_art_sees_it(cache: Path) -> None:
    usual, more = load_art(cache, 16), load_art(cache, 16, more=True)
    assert usual.style.tolist() == list(range(len(ART_SETS)))
    assert more.style.tolist() == list(range(len(STYLED)))
    assert np.array_equal(more.rgba[: len(ART_SETS)], usual.rgba)
    assert more.rgba[:, 8, 8, 0].tolist() == [10 * index for index in range(len(STYLED))]
    assert load_art(cache, 16).style.tolist() == usual.style.tolist()


def test_nothing_of_the_art_besides_is_held_out() -> None:
    names = [f"thing {i}" for i in range(200)]
    concepts = tuple(Concept(name, "1F600", "any", (), ()) for name in names)
    style, concept = np.divmod(np.arange(len(STYLES) * len(names)), len(names))
    art = Art(np.zeros((len(style), 1, 1, 4), np.uint8), concept, style, concepts)
    held = {art.style_of(image) for image in range(len(style)) if art.is_held_out(image)}
    assert held == {"retro", "flat", "3d", "firefox"}


def test_a_folder_has_no_more_art(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--more-art"):
        open_data(pictures, tmp_path, selection=Selection(more=True))


def test_the_emoji_set_shows_the_art_besides_where_it_is_selected(cache: Path) -> None:
    data = open_data(None, cache, 16, Selection(more=True))
    assert len(data.images) > len(open_data(None, cache, 16).images)
