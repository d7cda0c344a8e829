from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from models.errors import ConfigError
from models.measure.artists import Series
from models.measure.blind import Question, marks, read_questions, write
from models.measure.drawings import Drawings, asks_for

QUESTIONS = [
    Question(prompt, kind, answer, ("red heart", "dog", "cat"))
    for prompt, kind, answer in (
        ("un cœur rouge", "language", "red heart"),
        ("dog", "plain", "dog"),
        ("cat", "plain", "cat"),
    )
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the sheets of three pictures, each of another grey."""
    asks, drawings = asks_for([q.prompt for q in QUESTIONS], 0), Drawings(tmp_path / "drawn")
    for number, ask in enumerate(asks):
        pixels = torch.stack([torch.full((3, 8, 8), number / 4), torch.ones(3, 8, 8)])
        drawings.add(ask, pixels, [(1, 0.9), (0, 0.1)])
    write(tmp_path / "blind", Series(asks, drawings), QUESTIONS)
    return tmp_path / "blind"


def test_questions_tell_no_prompts_and_the_key_has_the_best_picture(folder: Path) -> None:
    asked = json.loads((folder / "questions.json").read_text())["pictures"]
    key = json.loads((folder / "key.json").read_text())
    assert [one["picture"] for one in asked] == [1, 2, 3]
    assert all(sorted(one["names"]) == ["cat", "dog", "red heart"] for one in asked)
    assert "un cœur" not in (folder / "questions.json").read_text()
    assert {entry["prompt"] for entry in key.values()} == {q.prompt for q in QUESTIONS}
    assert all(entry["file"].endswith("-0.png") for entry in key.values())
    with Image.open(folder / "sheet-1.png") as sheet:
        assert sheet.width > 3 * 8


def test_answers_are_marked_by_kind_and_the_sheets_stay(folder: Path) -> None:
    assert marks(folder, "m") is None
    key = json.loads((folder / "key.json").read_text())
    answers = {n: {"name": e["answer"], "clear": e["answer"] == "dog"} for n, e in key.items()}
    cat = next(n for n, e in key.items() if e["answer"] == "cat")
    (folder / "answers.json").write_text(json.dumps({**answers, cat: "dog"}))
    table = marks(folder, "m")
    assert table is not None
    told = {row[1]: row[2:] for row in table.rows}
    assert told == {"language": (1, 1, 0), "plain": (2, 1, 1), "all": (3, 2, 1)}
    before = (folder / "key.json").read_text()
    write(folder, Series([], Drawings(folder)), [])
    assert (folder / "key.json").read_text() == before
    (folder / "answers.json").write_text("[1]")
    with pytest.raises(ConfigError, match=r"answers\.json"):
        marks(folder, "m")


def test_a_list_without_its_answer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text('{"prompts": [{"prompt": "a", "names": ["b"]}]}')
    with pytest.raises(ConfigError, match="'a' is not among its names"):
        read_questions(tmp_path / "q.json")
