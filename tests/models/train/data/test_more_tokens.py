from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models.errors import ConfigError
from models.tokenizer import ADDED_FILE, YTTM_FILE, Tokenizer
from models.train.data import tokens
from models.train.data.more_tokens import lengthen

DATA = Path(__file__).parents[3] / "data"
ENGLISH = ("a red cat", "two cats", "a sterling cart", "a heart, red", "crêpe")
FOREIGN = ("eine", "cœur", "ペンギン", "犬", "le chat", "feu d'artifice", "cartas")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a tokenizer that was learnt from the English alone."""
    tokens.learn(iter(ENGLISH * 5), tmp_path / "old", 90)
    return tmp_path / "old"


def lengthened(folder: Path, out: Path, *words: str) -> Tokenizer:
    lengthen(folder, words, ENGLISH, out)
    return Tokenizer.load(out, 16)


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [token.strip() for token in tokenizer.tokens(tokenizer.pieces(text))]


def test_each_word_and_phrase_becomes_one_token(folder: Path, tmp_path: Path) -> None:
    longer = lengthened(folder, tmp_path / "new", *FOREIGN)
    assert pieces(longer, "EINE Cœur") == ["eine", "cœur"]
    assert pieces(longer, "feu d'artifice") == ["feu d'artifice"]
    assert pieces(longer, "犬ペンギン") == ["犬", "ペンギン"]


def test_words_are_read_whole_alone(folder: Path, tmp_path: Path) -> None:
    old, longer = Tokenizer.load(folder, 16), lengthened(folder, tmp_path / "new", *FOREIGN)
    for text in ("meine", "eines", "le chats", "un cœurs", "catcartas"):
        assert longer.encode(text) == old.encode(text)


def test_old_tokens_keep_their_ids_and_kept_texts_theirs(folder: Path, tmp_path: Path) -> None:
    old, longer = Tokenizer.load(folder, 16), lengthened(folder, tmp_path / "new", *FOREIGN)
    assert old.vocabulary().items() < longer.vocabulary().items()
    assert sorted(longer.vocabulary().values()) == list(range(len(longer.vocabulary())))
    assert [longer.encode(text) for text in ENGLISH] == list(map(old.encode, ENGLISH))


def test_what_english_says_and_what_was_added_is_left_out(folder: Path, tmp_path: Path) -> None:
    words = ("cat", "crêpe", "red cat", "rouge", "Rouge ")
    assert lengthen(folder, words[:4], ENGLISH, tmp_path / "new") == 1
    assert lengthen(tmp_path / "new", words, ENGLISH, tmp_path / "newer") == 0


def test_what_a_piece_has_taken_and_has_no_capital_is_left_out(tmp_path: Path) -> None:
    tokens.learn(iter(("トラック",) * 5), tmp_path / "old", 150)
    assert "トラ" in Tokenizer.load(tmp_path / "old", 16).vocabulary()
    longer = lengthened(tmp_path / "old", tmp_path / "new", "トラ", "サイ")
    assert list(longer.added_words()) == ["サイ"]


def test_an_old_token_that_english_lacks_is_no_words(tmp_path: Path) -> None:
    tokens.learn(iter((*ENGLISH, "almond") * 5), tmp_path / "old", 200)
    old = Tokenizer.load(tmp_path / "old", 16)
    assert len(old.pieces("mond")) == 1 or len(old.pieces("almond")) == 1
    longer = lengthened(tmp_path / "old", tmp_path / "new", "mond")
    assert longer.pieces("mond") == [len(old.vocabulary())]
    assert longer.encode("almond") == old.encode("almond")


def test_a_word_that_is_spelt_as_a_piece_is_a_token_of_its_own(
    folder: Path, tmp_path: Path
) -> None:
    old = Tokenizer.load(folder, 16)
    piece = next(token for token in old.vocabulary() if token.isalpha() and len(token) > 1)
    assert len(old.pieces(piece)) > 1  # as a word it ends, which the piece does not
    longer = lengthened(folder, tmp_path / "new", piece)
    (number,) = longer.pieces(piece)
    assert number == len(old.vocabulary())


def test_words_go_on_behind_those_that_were_added(folder: Path, tmp_path: Path) -> None:
    first = lengthened(folder, tmp_path / "first", "eine", "犬")
    second = lengthened(tmp_path / "first", tmp_path / "second", "rouge")
    assert first.vocabulary().items() < second.vocabulary().items()
    assert pieces(second, "eine 犬 rouge") == ["eine", "犬", "rouge"]


def test_the_files_are_the_same_each_time(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        lengthened(folder, tmp_path / name, *FOREIGN)
    one, two = (sorted((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert tokens.vocab_size(tmp_path / "one") == 90 + len(FOREIGN)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    shutil.copyfile(DATA / "yttm" / YTTM_FILE, tmp_path / YTTM_FILE)
    with pytest.raises(ConfigError, match="no words can be added"):
        lengthen(tmp_path, ("un",), (), tmp_path / "new")
    assert not (tmp_path / "new" / ADDED_FILE).exists()
