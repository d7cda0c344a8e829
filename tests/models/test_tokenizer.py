import hashlib
import json
import shutil
from pathlib import Path

import pytest

from models.errors import ConfigError, CorruptFileError, MissingFileError
from models.tokenizer import ADDED_FILE, Tokenizer
from tests.models.golden import GOLDEN, arrays, facts

FOLDER = GOLDEN / "mindalle_text" / "tokenizer"
FULL_SIZE = GOLDEN / "tokenizer_16k"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(FOLDER, context_length=32)


def test_recorded_prompts_get_their_recorded_ids(tokenizer: Tokenizer) -> None:
    wanted = arrays("mindalle_text")["token_ids"].tolist()
    assert [tokenizer.encode(p)[0] for p in facts("mindalle_text")["prompts"]] == wanted


def test_recorded_tokens_stand_behind_the_ids(tokenizer: Tokenizer) -> None:
    recorded = facts("mindalle_text")
    for prompt, tokens in zip(recorded["prompts"], recorded["prompt_tokens"], strict=True):
        assert tokenizer.tokens(tokenizer.encode(prompt)[0]) == tokens


def test_empty_prompt_is_all_padding(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("") == ([0] * 32, False)


def test_a_prompt_of_100000_characters_is_cut_and_says_so(tokenizer: Tokenizer) -> None:
    for prompt in ("a" * 100_000, "a tree " * 15_000, "日" * 100_000, "é\u0301" * 50_000):
        ids, is_truncated = tokenizer.encode(prompt)
        assert len(ids) == 32
        assert is_truncated


def test_truncation_starts_with_the_first_token_too_many(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("a " * 32)[1] is False
    assert tokenizer.encode("a " * 33)[1] is True
    assert tokenizer.encode("a " * 33)[0] == tokenizer.encode("a " * 32)[0]


@pytest.mark.parametrize(
    ("odd", "plain"),
    [
        ("a\ud800b", "ab"),  # a lone surrogate is removed, as other broken characters are
        ("a\x00b", "ab"),
        ("a\u200bb", "ab"),
        ("a\u2028b", "a b"),
    ],
)
def test_odd_unicode_reads_as_plain_text(tokenizer: Tokenizer, odd: str, plain: str) -> None:
    assert tokenizer.encode(odd) == tokenizer.encode(plain)


def test_a_split_surrogate_pair_is_the_character(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("\ud83d\ude00") == tokenizer.encode("😀")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"vocab\.json"):
        Tokenizer.load(tmp_path, 32)


def test_a_damaged_vocabulary_is_named(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    next(tmp_path.glob("*vocab.json")).write_text('{"[PAD]": 0, ')
    with pytest.raises(CorruptFileError, match="tokenizer"):
        Tokenizer.load(tmp_path, 32)


def test_two_vocabularies_are_refused(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    shutil.copy(next(tmp_path.glob("*vocab.json")), tmp_path / "other-vocab.json")
    with pytest.raises(ConfigError, match="more than one"):
        Tokenizer.load(tmp_path, 32)


def test_a_vocabulary_without_padding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"[UNK]": 0, "a": 1, "a</w>": 2}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(ConfigError, match=r"\[PAD\]"):
        Tokenizer.load(tmp_path, 32)


def with_added(folder: Path, content: object) -> Path:
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
    (folder / ADDED_FILE).write_text(json.dumps(content))
    return folder


def test_added_words_are_read_whole_and_nothing_else_changes(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    first = len(tokenizer.vocabulary())
    words = {"clair de lune": first, "Un": first + 1, "風船": first + 2}
    longer = Tokenizer.load(with_added(tmp_path, words), 32)
    assert longer.added_words() == words
    assert not tokenizer.added_words()
    assert longer.spellings().keys() - tokenizer.spellings().keys() == {
        "clair de lune</w>",
        "un</w>",
        "風船</w>",
    }
    assert longer.pieces("UN clair de lune") == [first + 1, first]
    assert longer.pieces("un, 風船") == [first + 1, *tokenizer.pieces(","), first + 2]
    for text in facts("mindalle_text")["prompts"]:
        assert longer.encode(text) == tokenizer.encode(text)
    assert longer.pieces("uncle") == tokenizer.pieces("uncle")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["un"], "can't read"),
        ({"un": "7"}, "next id"),
        ({"un": 7}, "next id"),
        ({"un": None, "deux": 3}, "can't read"),
        ({"": 320}, "next id"),
        ({"\ud800": 320}, "can't read"),
        ({"Ab": 320, "aB": 321}, "next id"),
    ],
)
def test_added_words_that_dont_go_on_are_refused(
    tmp_path: Path, content: object, message: str
) -> None:
    with pytest.raises(CorruptFileError, match=message):
        Tokenizer.load(with_added(tmp_path, content), 32)


def test_an_added_word_must_be_new(tokenizer: Tokenizer, tmp_path: Path) -> None:
    first = len(tokenizer.vocabulary())
    piece = next(token for token in tokenizer.vocabulary() if token.isalpha())
    with pytest.raises(CorruptFileError, match="must be new"):
        Tokenizer.load(with_added(tmp_path, {piece: first}), 32)


def test_ids_beyond_the_embedding_are_refused(tokenizer: Tokenizer) -> None:
    tokenizer.check_fits(320)
    with pytest.raises(ConfigError, match="text tokens"):
        tokenizer.check_fits(100)


def test_full_size_records_agree_with_each_other() -> None:
    recorded = facts("tokenizer_16k")
    for short, long in zip(recorded["ids"]["32"], recorded["ids"]["64"], strict=True):
        assert len(short) == 32
        assert long[:32] == short
        assert len(long) == 64
        assert max(long) < 16384
    empty = recorded["prompts"].index("")
    assert recorded["ids"]["64"][empty] == [0] * 64


@pytest.mark.weights
def test_full_size_tokenizer_gives_its_recorded_ids() -> None:
    """Needs the official tokenizer's two files in tests/golden/tokenizer_16k."""
    recorded = facts("tokenizer_16k")
    for name, digest in recorded["sha256"].items():
        path = FULL_SIZE / name
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    for length, wanted in recorded["ids"].items():
        tokenizer = Tokenizer.load(FULL_SIZE, int(length))
        assert [tokenizer.encode(prompt)[0] for prompt in recorded["prompts"]] == wanted
