"""A finished model learns other languages' words, and stays as it was in English.

With the shipped model, and art whose other names are the English ones from back to front.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from models import pipeline
from models.errors import ConfigError
from models.files.checkpoint import load_tokenizer, open_checkpoint
from models.pipeline import Pipeline
from models.presets.register import WEIGHTS_FOLDER
from models.tokenizer import Tokenizer
from models.train import bpe, ship, words
from models.train.data import code_table
from models.train.data.data_set import Variant
from models.train.data.emoji.emoji_set import Selection
from models.train.data.scenes.composition import scene_of
from models.train.data.scenes.scene_set import SceneSet, open_scenes
from models.train.loop.checkpoints import averaged

HQ = WEIGHTS_FOLDER / "emoji-hq"
ENGLISH = ("a red heart and a cat", "three blue birds at night", "picture of a house in a corner")


@dataclass(frozen=True)
class Lesson:
    """What the commands are given."""

    folder: Path
    art: Path

    @property
    def data(self) -> list[str]:
        return ["--data", "scenes", "--art", str(self.art), "--init", str(HQ)]

    def teach(self, run: Path, *options: str) -> None:
        given = ["--tokenizer", str(self.folder / "tokenizer"), "--run", str(run), "--threads", "1"]
        words.main([*self.data, *given, "--batch", "4", *options])

    def teach_prior(self, run: Path, *options: str) -> None:
        codes = ["--codes", str(self.folder / "codes"), "--cells", "5", "--shares", "varied=1"]
        self.teach(run, *codes, *options)


def is_coloured(scenes: SceneSet, variant: Variant) -> bool:
    """Whether every language says it, with a colour: what begins as its English is not taught."""
    coloured = any(part.colour for part in scene_of(variant).parts)
    is_said = scenes.translated(variant, Random(0)) is not None
    return coloured and is_said and scenes.kind(variant) == "varied"


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory, art_cache: Path) -> Lesson:
    """More tokens, and a table with codes for twelve coloured things."""
    made = Lesson(tmp_path_factory.mktemp("lesson"), art_cache)
    bpe.main([*made.data, "--out", str(made.folder / "tokenizer")])
    scenes = open_scenes(art_cache, 128, Selection())
    drawn = (scenes.scene(0, index) for index in range(2000))
    variants = tuple(islice((each for each in drawn if is_coloured(scenes, each)), 12))
    code_table.reserve(made.folder / "codes", variants, (64, 5))
    rng = np.random.default_rng(0)
    code_table.fill(made.folder / "codes", 0, torch.from_numpy(rng.integers(0, 1024, (12, 64, 5))))
    code_table.note_broken(made.folder / "codes", ())
    return made


def test_the_tokenizer_has_a_token_for_each_word(lesson: Lesson) -> None:
    old = load_tokenizer(open_checkpoint(HQ))
    assert old is not None
    new = Tokenizer.load(lesson.folder / "tokenizer", 16)
    for word in ("ylfrettub", "rotes", "amarillo"):
        assert sum(number > 0 for number in new.encode(word)[0]) == 1
    for text in (*ENGLISH, ""):
        assert new.encode(text) == old.encode(text)


def test_what_is_asked_in_english_is_drawn_and_ranked_as_before(
    lesson: Lesson, tmp_path: Path
) -> None:
    lesson.teach_prior(tmp_path / "prior", "--steps", "2", "--rate", "100")
    lesson.teach(tmp_path / "ranker", "--part", "ranker", "--steps", "2", "--rate", "100")
    runs = ["--stage2", str(tmp_path / "prior"), "--clip", str(tmp_path / "ranker")]
    read = ["--tokenizer", str(lesson.folder / "tokenizer")]
    shown = ["--runs", str(tmp_path), "--shown", "1"]
    ship.main([str(tmp_path / "model"), "--init", str(HQ), *runs, *read, *shown])
    old, new = pipeline.load("emoji-hq", HQ), pipeline.load("emoji-hq", tmp_path / "model")
    assert new.preset.licence == old.preset.licence
    assert old.tokenizer
    assert new.tokenizer
    for text in ENGLISH:
        ids = [torch.tensor([one.encode(text)[0]]) for one in (old.tokenizer, new.tokenizer)]
        told = [one.stage2.prefill(x) for one, x in zip((old, new), ids, strict=True)]
        assert torch.equal(told[0].hidden, told[1].hidden)
        assert torch.equal(*features(old, new, text))
    assert not torch.equal(*features(old, new, "ylfrettub"))


def features(old: Pipeline, new: Pipeline, text: str) -> list[Tensor]:
    """What both rankers make of a text."""
    found = [one.text_features(text) for one in (old, new)]
    return [value for value in found if value is not None]


def test_only_rows_of_words_are_learnt(lesson: Lesson, tmp_path: Path) -> None:
    lesson.teach_prior(tmp_path, "--steps", "4")
    begun = load_file(HQ / "stage2-00000.safetensors")
    now = averaged(tmp_path)[1]
    grown = {"tok_emb_txt.weight", "head_txt.weight"}
    same = {name for name, value in now.items() if name not in grown}
    assert same == begun.keys() - grown
    assert all(torch.equal(now[name], begun[name].float()) for name in same)
    rows = begun["tok_emb_txt.weight"]
    number = len(Tokenizer.load(lesson.folder / "tokenizer", 16).vocabulary())
    assert len(now["tok_emb_txt.weight"]) == number > len(rows)


def test_a_resumed_run_ends_as_an_uninterrupted_one(lesson: Lesson, tmp_path: Path) -> None:
    lesson.teach_prior(tmp_path / "whole", "--steps", "4")
    lesson.teach_prior(tmp_path / "parts", "--steps", "4", "--until", "2")
    lesson.teach_prior(tmp_path / "parts", "--steps", "4", "--resume")
    whole, parts = (averaged(tmp_path / name) for name in ("whole", "parts"))
    assert whole[0] == parts[0]
    assert all(torch.equal(value, parts[1][name]) for name, value in whole[1].items())


def test_the_ranker_says_which_names_it_knows(lesson: Lesson, tmp_path: Path) -> None:
    lesson.teach(tmp_path, "--part", "ranker", "--steps", "2")
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert 0.3 < last["val_known"] <= 1  # names of one token begin as their English
    assert (tmp_path / "clip" / "clip.safetensors").is_file()


def test_a_run_begins_with_what_another_has_learnt(lesson: Lesson, tmp_path: Path) -> None:
    lesson.teach_prior(tmp_path / "first", "--steps", "3")
    start = ("--start", str(tmp_path / "first"))
    lesson.teach_prior(tmp_path / "second", "--steps", "1", "--rate", "1e-9", *start)
    first, second = (averaged(tmp_path / name)[1] for name in ("first", "second"))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-7)
    with pytest.raises(ConfigError, match="--start: a run of another --part"):
        lesson.teach(tmp_path / "third", "--part", "ranker", *start)


def test_what_can_not_be_taught_is_refused(lesson: Lesson, tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(ConfigError, match="give --init"):
        words.main(["--run", str(tmp_path / "none")])
    other = str(WEIGHTS_FOLDER / "emoji" / "tokenizer")
    with pytest.raises(ConfigError, match="--tokenizer: not that of --init"):
        lesson.teach_prior(tmp_path / "other", "--steps", "1", "--tokenizer", other)
    mine = ["--data", str(pictures), "--init", str(HQ)]
    with pytest.raises(ConfigError, match="--data scenes alone"):
        words.main([*mine, "--run", str(tmp_path / "mine")])
    with pytest.raises(ConfigError, match="--data scenes alone"):
        bpe.main([*mine, "--out", str(tmp_path / "tokenizer")])
    with pytest.raises(ConfigError, match="--size: how many words --init adds"):
        bpe.main([*mine, "--out", str(tmp_path / "tokenizer"), "--size", "9000"])


def test_pictures_that_only_english_can_say_end_it(lesson: Lesson, tmp_path: Path) -> None:
    data = open_scenes(lesson.art, 128, Selection())
    drawn = (data.scene(0, index) for index in range(1000))
    counted = tuple(variant for variant in drawn if data.kind(variant) == "count")[:3]
    code_table.reserve(tmp_path / "codes", counted, (64, 5))
    code_table.note_broken(tmp_path / "codes", ())
    with pytest.raises(ConfigError, match="none of these pictures has words"):
        lesson.teach(tmp_path / "run", "--codes", str(tmp_path / "codes"), "--shares", "count=1")
