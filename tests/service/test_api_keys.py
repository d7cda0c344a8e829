from __future__ import annotations

import codecs
import hashlib
import os
from pathlib import Path

import pytest

from service.config.api_keys import ApiKey, read_keys
from service.settings import Settings

KEY = "def0123456789"
TEXT = f"# team\nbob:{KEY}\n"


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def read_file(path: Path, data: bytes | str) -> tuple[ApiKey, ...]:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_keys("", path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys of the team.txt"


def test_keys_come_from_the_list_and_the_file(path: Path) -> None:
    path.write_text("# team\ncarol:key-three:0.5  # half\n\n")
    alice, bare, carol = read_keys("alice:key-number-1:2, key-number-2", path)
    assert (alice.name, alice.weight) == ("alice", 2.0)
    assert alice.digest == digest("key-number-1")
    assert (bare.name, bare.weight) == (bare.key_id, 1.0)
    assert (carol.name, carol.weight) == ("carol", 0.5)
    assert "key-number-1" not in repr(alice)


@pytest.mark.parametrize("key", ["sk-abc/def=", "//hush-hush", "abc#def01", "a b"[0] * 8])
def test_a_key_may_hold_what_a_header_may(key: str) -> None:
    assert ApiKey.parse(key).digest == digest(key)


SAVED = {
    "UTF-8": TEXT.encode(),
    "UTF-8 with a mark, as Notepad does": codecs.BOM_UTF8 + TEXT.encode(),
    "UTF-16 of Windows": codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
    "UTF-16 of PowerShell with its line ends": codecs.BOM_UTF16_LE
    + TEXT.replace("\n", "\r\n").encode("utf-16-le"),
    "UTF-16 the other way round": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    "UTF-32": codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
    "UTF-32 the other way round": codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
    "line ends of DOS": TEXT.replace("\n", "\r\n").encode(),
    "line ends of an old Mac": TEXT.replace("\n", "\r").encode(),
    "no line end at all": TEXT.rstrip().encode(),
    "spaces around": f" \t bob : {KEY} \t\n\n   \n".encode(),
    "a comment behind it": f"bob:{KEY}\t# until May\n".encode(),
    "a comment with other letters": f"# Schlüssel für Ödön – 鍵\nbob:{KEY}\n".encode(),
}


@pytest.mark.parametrize("data", SAVED.values(), ids=SAVED.keys())
def test_a_file_is_read_as_people_save_it(path: Path, data: bytes) -> None:
    (key,) = read_file(path, data)
    assert (key.name, key.digest) == ("bob", digest(KEY))


def test_a_comment_needs_white_space_before_it(path: Path) -> None:
    (key,) = read_file(path, f"bob:abc#{KEY}\n")
    assert key.digest == digest(f"abc#{KEY}")


def test_one_name_may_have_two_keys_while_they_are_changed(path: Path) -> None:
    assert [key.name for key in read_file(path, "bob:old-key-1\nbob:new-key-2\n")] == ["bob", "bob"]


WRONG = {
    "too short to be safe": ("bob:abc", "line 1: a key of 3 characters can be guessed"),
    "nothing behind the colon": ("bob:", "line 1: there is no key behind the colon"),
    "a colon in a key": ("bob:abc:def0123456789", "weight is not a number"),
    "a weight of nothing": (f"bob:{KEY}:nan", "between 0.01 and 100"),
    "typographic quotes": (f"bob:“{KEY}”", "without quotes"),
    "quotes as in a shell": (f'"{KEY}"', "without quotes"),
    "an invisible letter": (f"# one\n\nbob:{KEY}\u200b", "line 3: .*its character 14 is U\\+200B"),
    "a space inside": ("bob:two words here", "U\\+0020"),
    "an accent": ("bob:clé-secrète", "U\\+00E9"),
    "the list of the variable": (f"a:{KEY},b:{KEY}1", "line 1: .*no comma"),
    "the same key again": (f"a:{KEY}\nb:{KEY}", "line 2: the same key is given twice, .*line 1"),
    "only comments": ("# none yet\n", "there is no key in .*keys of the team"),
    "nothing": ("", "there is no key in .*keys of the team"),
}


@pytest.mark.parametrize(("text", "reason"), WRONG.values(), ids=WRONG.keys())
def test_what_can_not_be_right_is_named_by_setting_file_and_line(
    path: Path, text: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        read_file(path, text)
    message = str(caught.value)
    assert message.startswith("MINDALLE_API_KEYS_FILE: ")
    assert str(path) in message
    assert KEY not in message


UNREADABLE = {
    "UTF-16 without a mark": (TEXT.encode("utf-16-le"), "line 2: .*U\\+0000; save the file as"),
    "Latin-1": (b"# ok\nbob:caf\xe9-0123456789\n", "line 2: not UTF-8 text"),
    "cut in the middle": (codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le")[:-3], "not UTF-16 text"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00", "line 1: not UTF-8 text"),
}


@pytest.mark.parametrize(("data", "reason"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_can_not_be_read_is_named_by_setting_file_and_line(
    path: Path, data: bytes, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        read_file(path, data)
    assert str(caught.value).startswith(f"MINDALLE_API_KEYS_FILE: {path}, line ")


def test_a_folder_or_nothing_in_place_of_the_file(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(ValueError, match=r"MINDALLE_API_KEYS_FILE: .* can't be read: "):
            read_keys("", place)


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        ("alice:abc", "MINDALLE_API_KEYS, key 1: a key of 3"),
        (f"alice:{KEY},,bob:", "MINDALLE_API_KEYS, key 3: there is no key"),
        (f"\ufeff{KEY}", "MINDALLE_API_KEYS, key 1: .*U\\+FEFF"),
        (" , ", "MINDALLE_API_KEYS: there is no key in it"),
    ],
)
def test_a_wrong_key_in_the_list_is_named_by_its_place(listed: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_keys(listed, None)


def test_a_pipe_is_read_once_and_holds_its_keys_for_good(tmp_path: Path) -> None:
    """`MINDALLE_API_KEYS_FILE=<(vault read …)`: a second look would find no key, so no lock."""
    reader, writer = os.pipe()
    os.write(writer, TEXT.encode())
    os.close(writer)
    settings = Settings.model_validate({"api_keys_file": f"/dev/fd/{reader}"})
    os.close(reader)
    assert [key.name for key in settings.keys()] == ["bob"]  # noqa: SIM118 - no mapping
    assert settings.needs_key
