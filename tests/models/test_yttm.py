"""YouTokenToMe's files. The file and the ids beside it were made by that library, version 1.0.6."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.errors import ConfigError, CorruptFileError
from models.tokenizer import YTTM_FILE, Tokenizer

FOLDER = Path(__file__).parents[1] / "data" / "yttm"
_LENGTH = 24


def test_ids_are_the_librarys() -> None:
    tokenizer = Tokenizer.load(FOLDER, _LENGTH)
    for case in json.loads((FOLDER / "expected.json").read_text("utf-8")):
        ids, is_truncated = tokenizer.encode(case["prompt"])
        wanted = [2, *case["ids"], 3]
        assert ids == wanted + [0] * (_LENGTH - len(wanted)), case["prompt"]
        assert not is_truncated


def test_a_long_prompt_loses_its_end() -> None:
    ids, is_truncated = Tokenizer.load(FOLDER, 4).encode("кот на окне " * 3)
    assert (ids, is_truncated) == ([2, 83, 37, 82], True)


def test_letters_case_and_words_of_the_padding_are_plain_text() -> None:
    tokenizer = Tokenizer.load(FOLDER, _LENGTH)
    assert tokenizer.encode("КОТ НА ОКНЕ") == tokenizer.encode("кот на окне")
    assert tokenizer.encode("[PAD]")[0][:4] == [2, 4, 1, 3]


def test_it_makes_no_ids_beyond_its_own() -> None:
    tokenizer = Tokenizer.load(FOLDER, _LENGTH)
    tokenizer.check_fits(120)
    with pytest.raises(ConfigError, match="ids up to 119, stage 2 has 119"):
        tokenizer.check_fits(119)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "cut short 1",
        "2 1\n97 4\n98 5\n4 9 6\n1 0 2 3\n",
        "1 0\n97 4\n1 0 -1 -1\n",
        "1 0\n99999999999 4\n1 0 2 3\n",
        "1 0\n55296 4\n1 0 2 3\n",
        "1 0\n97 -4\n1 0 2 3\n",
        "1 0\n97 99999999999\n1 0 2 3\n",
    ],
    ids=[
        "empty",
        "no numbers",
        "an unknown part",
        "no start",
        "no character",
        "half a pair",
        "an id below 0",
        "an id too large",
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / YTTM_FILE).write_text(content)
    with pytest.raises(CorruptFileError, match="no BPE file of YouTokenToMe"):
        Tokenizer.load(tmp_path, _LENGTH)
