from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import httpx
import pytest

from service.api.http.forms import as_json, is_form
from service.errors import InvalidRequest

_TYPE = "multipart/form-data; boundary=b"


def _form(*parts: tuple[str, str], end: str = "--b--\r\n") -> bytes:
    made = [
        f"--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{text}\r\n" for head, text in parts
    ]
    return ("".join(made) + end).encode()


def _read(body: bytes, content_type: str = _TYPE, most: int = 1000) -> Any:
    return json.loads(as_json(content_type, body, {"prompt"}, {"image"}, most))


def test_what_a_client_library_sends_is_understood() -> None:
    content = bytes(range(256)) * 3 + b"\r\n--b\r\n"
    request = httpx.Request(
        "POST",
        "http://x",
        data={"prompt": "a röd 🍎\r\n", "n": "2", "stream": "true", "keep": "0.5"},
        files={"image[]": ("ä.png", content, "image/png")},
    )
    request.read()
    kind = request.headers["content-type"]
    assert is_form(kind)
    assert _read(request.content, kind) == {
        "prompt": "a röd 🍎\r\n",
        "n": 2,
        "stream": True,
        "keep": 0.5,
        "image": base64.b64encode(content).decode(),
    }


def test_text_that_is_no_json_stays_text() -> None:
    found = _read(
        _form(('name="n"', "many"), ('name="prompt"', "207"), ('name="x"', "[" * 10_000)),
        most=10**6,
    )
    assert (found["n"], found["prompt"]) == ("many", "207")


def test_only_fields_of_files_are_read_as_files() -> None:
    """`curl -F prompt=@prompt.txt` and `requests`' `files={"prompt": …}` send a text as a file."""
    found = _read(
        _form(
            ('name="prompt"; filename="prompt.txt"', "a red hat"),
            ('name="n"; filename="n"', "2"),
            ('name="image"; filename="a.png"', "png"),
        )
    )
    assert found == {"prompt": "a red hat", "n": 2, "image": base64.b64encode(b"png").decode()}


def test_a_file_that_nobody_has_chosen_is_none() -> None:
    """A browser sends a form's empty file field all the same."""
    empty = ('name="image"; filename=""\r\nContent-Type: application/octet-stream', "")
    assert _read(_form(empty, ('name="prompt"; filename=""', ""))) == {"prompt": ""}
    assert _read(_form(('name="image"; filename="a.png"', ""))) == {"image": ""}


def test_json_of_any_depth_is_text_or_a_refusal() -> None:
    for depth in range(900, 1000):
        with contextlib.suppress(InvalidRequest):
            _read(_form(('name="n[x]"', "[" * depth + "]" * depth)), most=10**6)


def _named(*parts: tuple[str, str]) -> bytes:
    return _form(*((f'name="{name}"', text) for name, text in parts))


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([("top_k[]", "10"), ("n", "2"), ("top_k[]", "20")], {"top_k": [10, 20], "n": 2}),
        ([("top_k", "[10, 20]")], {"top_k": [10, 20]}),
        ([("top_k[]", "10")], {"top_k": 10}),  # some clients write single values so
        ([("prompt[]", "7"), ("prompt[]", "8")], {"prompt": ["7", "8"]}),
        ([("prompt[]", "7")], {"prompt": "7"}),
        ([("accept[min_score]", "0.1")], {"accept": {"min_score": 0.1}}),
        (
            [("webhook[url]", "https://a.b"), ("webhook[events]", '["failed"]')],
            {"webhook": {"url": "https://a.b", "events": ["failed"]}},
        ),
        ([("__proto__[x]", "1"), ("a[__class__]", "2")],
         {"__proto__": {"x": 1}, "a": {"__class__": 2}}),
        ([("[x]", "1"), ("[]", "2"), ("a]", "3")], {"[x]": 1, "[]": 2, "a]": 3}),
    ],
)  # fmt: skip
def test_lists_and_objects_by_their_names(parts: list[tuple[str, str]], found: object) -> None:
    assert _read(_named(*parts)) == found


@pytest.mark.parametrize(
    ("names", "param", "words"),
    [
        (["webhook[events][]"], "webhook", "go one level deep"),
        (["a[b][c]"], "a", "Send what is deeper as JSON in a"),
        (["a" + "[b]" * 600], "a", "one level deep"),
        (["a[b", ], "a", "one level deep"),
        (["a[]b"], "a", "one level deep"),
        (["a[[b]]"], "a", "one level deep"),
        (["top_k", "top_k[]"], "top_k", "in one way only"),
        (["top_k[]", "top_k[]", "top_k"], "top_k", "in one way only"),
        (["a[b]", "a"], "a", "in one way only"),
        (["a[]", "a[b]"], "a", "in one way only"),
        (["a[b]", "a[c]", "a[b]"], "a", r"a\[b\] can be sent only once"),
        (["image[]", "image[]"], "image", "image can be one picture only"),
        (["image", "image"], "image", "one picture only"),
        (["image[]", "image"], "image", "one picture only"),
        (["image[0]", "image[1]"], "image", "one picture only"),
    ],
)  # fmt: skip
def test_names_that_say_no_one_thing_are_refused(names: list[str], param: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        _read(_form(*((f'name="{name}"; filename="f"', "1") for name in names)), most=10**5)
    assert caught.value.param == param


@pytest.mark.parametrize("name", ["prompt", "n", "accept[min_score]"])
def test_text_is_utf_8(name: str) -> None:
    body = _named((name, "?")).replace(b"?", b"caf\xe9")
    with pytest.raises(InvalidRequest, match="no UTF-8") as caught:
        _read(body)
    assert caught.value.param == name.partition("[")[0]


def test_a_file_where_none_belongs_is_left_to_who_knows_the_fields() -> None:
    """`markup`, say: OpenAI has it, we have not, and to send it as text would not help."""
    head = 'name="markup"; filename="m.png"'
    body = _form((head, "?" * 2000), ('name="n"', "2")).replace(b"?", b"\x89")
    assert _read(body) == {"markup": "", "n": 2}


def test_a_picture_sent_as_a_text_is_told_by_who_reads_it() -> None:
    assert "\ufffd" in _read(_named(("image", "?")).replace(b"?", b"\x89PNG"))["image"]


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (_form(('name="n"', "1")), "multipart/form-data", "names no boundary"),
        (_form(('name="n"', "1"), end=""), _TYPE, "its end is missing"),
        (_form(("filename=x", "1")), _TYPE, "a part has no name"),
        (_form(('name="' + ";" * 300_000, "1")), _TYPE, "before a part is too long"),
        (b'--b\r\nContent-Disposition: x; name="' + b";" * 300_000, _TYPE, "is too long"),
        (_form(('name="n"', "1")), f'{_TYPE}; x="{";" * 3000}', "names no boundary"),
        (b"--b\r\nno headers", _TYPE, "a part has no name"),
        (b"", _TYPE, "its end is missing"),
        (_form(*[(f'name="f{n}"', "1") for n in range(65)]), _TYPE, "more than 64 parts"),
        (_form(('name="n"', "1"), ('name="n"', "2")), _TYPE, "n can be sent only once"),
        (_form(('name="prompt"', "x" * 1001)), _TYPE, "at most 1000 bytes"),
        (_form(('name="prompt"; filename="p"', "x" * 1001)), _TYPE, "at most 1000 bytes"),
    ],
)
def test_what_is_no_form_is_told(body: bytes, content_type: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        _read(body, content_type)


def test_only_forms_are_forms() -> None:
    assert is_form("Multipart/Form-Data; boundary=x")
    assert not is_form("application/json")
    assert not is_form("")
