from __future__ import annotations

import base64
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
