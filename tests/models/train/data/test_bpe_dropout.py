from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from models.errors import ConfigError
from models.tokenizer import Tokenizer
from models.train.data.bpe_dropout import BpeDropout
from tests.models.test_tokenizer import FOLDER, with_added

TEXTS = ("A painting of two cats, on san francisco's hills!", "", "naïve 猫 🙂 [unk", "x" * 90)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(FOLDER, 64)


@pytest.mark.parametrize("text", TEXTS)
def test_without_anything_left_out_it_is_the_tokenizer(text: str, tokenizer: Tokenizer) -> None:
    assert BpeDropout(tokenizer, 0.0).encode(text, Random(0)) == tokenizer.encode(text)[0]


def test_a_text_is_split_in_other_ways_and_stays_the_same(tokenizer: Tokenizer) -> None:
    dropout = BpeDropout(tokenizer, 0.5)
    found = [dropout.encode(TEXTS[0], Random(seed)) for seed in (0, 1, 1)]
    assert found[0] != found[1]
    assert found[1] == found[2]
    whole, *others = (
        "".join(tokenizer.tokens(ids)) for ids in (tokenizer.encode(TEXTS[0])[0], *found)
    )
    assert all(other.replace("[PAD]", "") == whole.replace("[PAD]", "") for other in others)
    letters = BpeDropout(tokenizer, 1.0).encode("cats", Random(0))
    assert tokenizer.tokens(letters)[:5] == ["c", "a", "t", "s</w>", "[PAD]"]


def test_words_that_are_never_split_are_refused(tmp_path: Path) -> None:
    folder = with_added(tmp_path, {"Un": len(Tokenizer.load(FOLDER, 64).vocabulary())})
    with pytest.raises(ConfigError, match="it has added words"):
        BpeDropout(Tokenizer.load(folder, 64), 0.5)
