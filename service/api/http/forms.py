"""A form (multipart/form-data, RFC 7578) → the JSON that says the same: files as base64.

So that routes know one kind of body. Everything is in memory, and no file name is believed. Knows
no routes; which fields are text, and which are files, it is told. What names mean, notation.py has.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Self

from service.api.http.notation import Fields, Name
from service.errors import InvalidRequest

_TYPE = "multipart/form-data"
_MAX_PARTS = 64
# Of what names a part, or the boundary: parsing takes time that grows with the square of it.
_MAX_HEAD_BYTES = 2048
_BREAK = b"\r\n"


def is_form(content_type: str) -> bool:
    """Whether a body of this type is a form."""
    return content_type.partition(";")[0].strip().lower() == _TYPE


@dataclass(frozen=True, slots=True)
class _Part:
    """A field of a form, or a piece of one."""

    name: Name
    content: bytes
    file_name: str | None

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """From what stands between two boundaries."""
        head, gap, content = raw.removeprefix(_BREAK).partition(_BREAK + _BREAK)
        if len(head) > _MAX_HEAD_BYTES:
            raise _broken("what stands before a part is too long")
        headers = Message()
        for line in head.decode("utf-8", "replace").split("\r\n"):
            key, _, value = line.partition(":")
            if key.strip().lower() == "content-disposition":
                headers["content-disposition"] = value.strip()
        name = headers.get_param("name", header="content-disposition")
        if not gap or not isinstance(name, str) or not name:
            raise _broken("a part has no name")
        file_name = headers.get_param("filename", header="content-disposition")
        return cls(Name.of(name), content, None if file_name is None else str(file_name))

    @property
    def is_unchosen(self) -> bool:
        """What a browser sends for a file that nobody has chosen."""
        return self.file_name == "" and not self.content

    @property
    def is_binary(self) -> bool:
        """Whether it can't be a text."""
        try:
            self.content.decode("utf-8")
        except UnicodeDecodeError:
            return True
        return False


def as_json(
    content_type: str,
    body: bytes,
    texts: Collection[str],
    files: Collection[str],
    max_text_bytes: int,
) -> bytes:
    """The form's fields as a JSON object.

    A file is base64 where `files` has its field: many a client gives every field a file's name. Of
    the others those of `texts` stay text, the rest is JSON itself where it can be read as such.
    InvalidRequest for what is no form; all that is no file may have `max_text_bytes`.
    """
    fields = Fields(files)
    num_bytes = 0
    for part in _parts(_boundary(content_type), body):
        field = part.name.field
        if part.is_unchosen and field in files:
            continue
        is_file = part.file_name is not None and (
            field in files or (field not in texts and part.is_binary)
        )
        num_bytes += 0 if is_file else len(part.content)
        if num_bytes > max_text_bytes:
            raise InvalidRequest(
                f"The fields of a form that are no files can have at most {max_text_bytes} bytes.",
                param=field,
            )
        fields.add(part.name, _file(part, files) if is_file else _value(part, texts, files))
    try:
        return json.dumps(fields.as_object()).encode()
    except RecursionError:  # reading goes one level deeper than writing
        raise _broken("the JSON in it is nested too deeply") from None


def _boundary(content_type: str) -> bytes:
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary() if len(content_type) <= _MAX_HEAD_BYTES else None
    if not boundary:
        raise _broken("its type names no boundary")
    return boundary.encode("utf-8", "replace")


def _parts(boundary: bytes, body: bytes) -> Iterator[_Part]:
    _, *pieces = (_BREAK + body).split(_BREAK + b"--" + boundary, _MAX_PARTS + 1)
    for index, piece in enumerate(pieces):
        if piece.startswith(b"--"):
            return
        if index >= _MAX_PARTS:
            raise _broken(f"it has more than {_MAX_PARTS} parts")
        yield _Part.of(piece)
    raise _broken("its end is missing")


def _file(part: _Part, files: Collection[str]) -> str:
    """As base64; an empty text where no file belongs: whoever knows the fields refuses it there."""
    content = part.content if part.name.field in files else b""
    return base64.b64encode(content).decode("ascii")


def _value(part: _Part, texts: Collection[str], files: Collection[str]) -> object:
    text = _text(part, "replace" if part.name.field in files else "strict")
    if part.name.field in texts:
        return text
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return text  # whoever knows the field says what is wrong with it
    return value


def _text(part: _Part, errors: str) -> str:
    """A picture that was sent as a text is told so later, by whoever knows what it may be."""
    try:
        return part.content.decode("utf-8", errors)
    except UnicodeDecodeError:
        field = part.name.field
        raise InvalidRequest(
            f"{field} holds bytes that are no UTF-8: send it as text in UTF-8.", param=field
        ) from None


def _broken(why: str) -> InvalidRequest:
    return InvalidRequest(f"The body can't be read as a form: {why}.")
