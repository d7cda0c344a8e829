from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ConfigError
from models.tokenizer import Tokenizer
from models.train.data import tokens
from models.train.data.more_tokens import MoreTokens

ENGLISH = ("a red cat", "two cats", "a sterling cart", "a heart, red", "ice skate")
FOREIGN = ("eine katze", "un cœur rouge", "cartas", "ペンギン", "le chat")


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    """Learnt from the English alone, and from the letters of the rest."""
    letters = [" ".join(text) for text in FOREIGN]
    tokens.learn(iter([*ENGLISH * 5, *letters * 5]), tmp_path / "old", 90)
    return Tokenizer.load(tmp_path / "old", 16)


def lengthened(tokenizer: Tokenizer, folder: Path, words: tuple[str, ...]) -> Tokenizer:
    more = MoreTokens(tokenizer, ENGLISH)
    more.add(words)
    more.save(folder)
    return Tokenizer.load(folder, 16)


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [token for token in tokenizer.tokens(tokenizer.encode(text)[0]) if token != "[PAD]"]


def test_each_new_word_becomes_one_token(tokenizer: Tokenizer, tmp_path: Path) -> None:
    assert len(pieces(tokenizer, "katze")) > 1
    longer = lengthened(tokenizer, tmp_path / "new", FOREIGN)
    for word in ("eine", "katze", "un", "cœur", "rouge", "cartas", "ペンギン", "le", "chat"):
        assert pieces(longer, word) == [f"{word}</w>"]


def test_old_tokens_keep_their_ids_and_kept_texts_theirs(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    longer = lengthened(tokenizer, tmp_path / "new", FOREIGN)
    assert tokenizer.vocabulary().items() < longer.vocabulary().items()
    assert sorted(longer.vocabulary().values()) == list(range(len(longer.vocabulary())))
    assert [longer.encode(text) for text in ENGLISH] == list(map(tokenizer.encode, ENGLISH))


def test_a_word_whose_every_merge_is_in_a_kept_one_stays_split(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    split = next(word for word in ["sterling", "skate", "cart"] if len(pieces(tokenizer, word)) > 2)
    first, *_, last = [piece.removesuffix("</w>") for piece in pieces(tokenizer, split)]
    longer = lengthened(tokenizer, tmp_path / "new", (first + split + last, split))
    assert pieces(longer, split) == pieces(tokenizer, split)


def test_the_files_are_the_same_each_time(tokenizer: Tokenizer, tmp_path: Path) -> None:
    for name in ("first", "second"):
        lengthened(tokenizer, tmp_path / name, FOREIGN)
    first, second = (sorted((tmp_path / name).iterdir()) for name in ("first", "second"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_text_in_unknown_letters_adds_nothing(tokenizer: Tokenizer) -> None:
    assert MoreTokens(tokenizer, ENGLISH).add(("Ж", "кот")) == 0


def test_words_that_are_there_are_not_added_again(tokenizer: Tokenizer, tmp_path: Path) -> None:
    longer = lengthened(tokenizer, tmp_path / "new", FOREIGN)
    assert MoreTokens(longer, ENGLISH).add(FOREIGN) == 0


def test_a_tokenizer_that_splits_otherwise_is_refused() -> None:
    class Whole(Tokenizer):
        def document(self) -> dict[str, object]:
            return super().document() | {"pre_tokenizer": None}

    whole = Whole.of_letters(16)
    with pytest.raises(ConfigError, match="no words can be added"):
        MoreTokens(whole, ())
