from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.errors import ConfigError
from models.measure.captions import prompts_for, read_prompts, sample

COCO = {
    "info": {"year": 2014},
    "images": [{"id": 1, "file_name": "a.jpg"}],
    "annotations": [
        {"image_id": 1, "id": 7, "caption": "A cat on\na mat. "},
        {"image_id": 1, "id": 8, "caption": "A dog."},
    ],
}
FORMS = {
    "lines.txt": ("cat\n\n dog \n", ["cat", "dog"]),
    "bulk.jsonl": ('{"prompt": "cat", "n": 2}\n\n"dog"\n', ["cat", "dog"]),
    "list.json": ('["cat", {"prompt": "dog"}, {"caption": "cow"}, 3]', ["cat", "dog", "cow", "3"]),
    "prompts.json": ('{"prompts": [{"prompt": "cat"}, {"prompt": "dog"}]}', ["cat", "dog"]),
    "odd.json": (
        r'["half a \ud800 pair", "a whole \ud83d\ude00"]',
        ["half a \ufffd pair", "a whole 😀"],
    ),
    "coco.json": (json.dumps(COCO), ["A cat on a mat.", "A dog."]),
}


@pytest.mark.parametrize("name", FORMS)
def test_prompts_are_read_from_lines_lists_and_captions(tmp_path: Path, name: str) -> None:
    text, wanted = FORMS[name]
    (tmp_path / name).write_text(text)
    assert read_prompts(tmp_path / name) == wanted


@pytest.mark.parametrize("text", ["3", '{"a": 1}', "[[1]]", "[]", '{"annotations": [{"id": 1}]}'])
def test_json_without_prompts_is_told_with_its_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(ConfigError, match=r"p\.json"):
        read_prompts(tmp_path / "p.json")


def test_a_sample_is_the_same_each_time() -> None:
    prompts = [str(number) for number in range(100)]
    some = sample(prompts, 10)
    assert len(set(some)) == 10
    assert some == sample(prompts, 10)
    assert sample(prompts, None) == sample(prompts, 1000) == prompts


def test_prompts_are_as_the_model_takes_them() -> None:
    assert prompts_for("text", None, ["3", "cat"]) == ["3", "cat"]
    assert prompts_for("class", 10, ["3", "09"]) == [3, 9]
    assert prompts_for("none", None, ["3", "cat"]) == [None, None]
    for wrong in ("10", "-1", "cat"):
        with pytest.raises(ConfigError, match=f"'{wrong}' is no class in 0..9"):
            prompts_for("class", 10, ["3", wrong])
