from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from random import Random

import pytest

from models.errors import ConfigError
from models.train.data.data_set import DataSet
from models.train.data.emoji.emoji_set import EmojiSet, Selection
from models.train.data.folder import Crops, FolderSet
from models.train.data.scenes.composition import Part, Scene
from models.train.data.scenes.layouts import SINGLE
from models.train.data.scenes.scene_set import SceneSet
from models.train.data.sources import SCENES, add_arguments, add_place, open_data, opened


def test_scenes_are_opened_by_their_name(art_cache: Path) -> None:
    data = open_data(SCENES, art_cache, 128, Selection(styles=("flat",)))
    assert isinstance(data, SceneSet)
    assert {data.art.style_of(image) for image in data.images} == {"flat"}
    assert {"cat", "above", "bei nacht"} <= {word.strip() for word in data.vocabulary()}


def test_a_folder_of_that_name_is_a_folder(
    pictures: Path, tmp_path: Path, art_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / SCENES).symlink_to(pictures)
    assert isinstance(open_data(SCENES, art_cache), FolderSet)
    parser = ArgumentParser()
    add_arguments(parser)
    with pytest.raises(ConfigError, match="--data scenes"):
        opened(parser.parse_args(["--data", str(SCENES), "--other-languages", "0.5"]))


def test_without_a_folder_it_is_the_emoji_set(art_cache: Path) -> None:
    assert isinstance(open_data(None, art_cache, 128), EmojiSet)


def test_squares_are_named_by_options(pictures: Path) -> None:
    parser = ArgumentParser()
    add_arguments(parser)

    def of(*options: str) -> DataSet:
        return opened(parser.parse_args(["--data", str(pictures), *options]), 32)

    data = of("--crops", "2", "--crop-area", "0.75", "--mirrors")
    assert isinstance(data, FolderSet)
    assert data.crops == Crops(2, 0.75, mirrors=True)
    with pytest.raises(SystemExit):
        of("--crops", "2", "--crop-area", "2")
    with pytest.raises(ConfigError, match="of how many squares"):
        of("--mirrors")


@pytest.mark.parametrize(
    ("selection", "option"),
    [
        (Selection(part="odd"), "--part"),
        (Selection(styles=("noto",)), "--styles"),
        (Selection(varied=("flat",)), "--varied"),
        (Selection(stand_ins=("noto",)), "--stand-ins"),
        (Selection(num_scenes=9), "--scenes"),
    ],
)
def test_ones_own_pictures_are_not_narrowed_down(
    selection: Selection, option: str, pictures: Path
) -> None:
    with pytest.raises(ConfigError, match=f"{option}: of the emoji art only"):
        open_data(pictures, Path("none"), 32, selection)


def test_who_only_looks_at_a_data_set_is_asked_nothing_of_learning() -> None:
    parser = ArgumentParser()
    add_place(parser)
    assert vars(parser.parse_args([])).keys() == {"art", "data"}


def test_as_many_captions_as_wanted_are_in_other_languages(art_cache: Path, pictures: Path) -> None:
    parser = ArgumentParser()
    add_arguments(parser)

    def captions(*options: str) -> set[str]:
        arguments = ["--art", str(art_cache), "--data", str(SCENES), *options]
        data = opened(parser.parse_args(arguments), 128)
        scene = Scene("single/", (Part(data.images[0], SINGLE[""]),), "night")
        return {data.caption(scene.as_variant(), Random(seed)) for seed in range(100)}

    def foreign(*options: str) -> int:
        words = ("bei nacht", "la nuit", "de noche", "à noite", "夜の")
        return sum(any(word in text for word in words) for text in captions(*options))

    assert not foreign("--other-languages", "0")
    assert 0 < foreign() < len(captions())
    assert foreign("--other-languages", "1") == len(captions("--other-languages", "1"))
    with pytest.raises(ConfigError, match="--data scenes"):
        opened(parser.parse_args(["--other-languages", "0.5"]))
    with pytest.raises(ConfigError, match="--data scenes"):
        opened(parser.parse_args(["--data", str(pictures), "--other-languages", "0.5"]))
