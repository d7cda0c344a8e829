"""Names of a form's parts → the fields of one object, as OpenAI's clients write lists and objects.

`name` is a value, `name[]` again and again a list, `name[key]` a field of an object: one level of
that; what is deeper goes as JSON. Knows no bytes and no routes; which fields are files, it is told.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from service.errors import InvalidRequest

_NOTATION = re.compile(r"([^\[]+)(?:\[([^\[\]]*)\])?")


@dataclass(frozen=True, slots=True)
class Name:
    """A field, and a place in it: None for all of it, "" for the next of a list, else a key."""

    field: str
    key: str | None = None

    @classmethod
    def of(cls, written: str) -> Self:
        """InvalidRequest where it goes deeper than one level, or a bracket is left open."""
        field = written.partition("[")[0]
        if not field:
            return cls(written)  # no field has such a name: it is refused as any unknown one
        found = _NOTATION.fullmatch(written)
        if found is None:
            raise InvalidRequest(
                f"{field}: names in a form go one level deep, as {field}[] for a list and "
                f"{field}[key] for an object. Send what is deeper as JSON in {field}.",
                param=field,
            )
        return cls(field, found[2])


class Fields:
    """What the parts of one form say so far. A field of `files` takes one picture."""

    def __init__(self, files: Collection[str]) -> None:
        self._files = files
        self._values: dict[str, object] = {}
        self._lists: dict[str, list[object]] = {}
        self._objects: dict[str, dict[str, object]] = {}

    def add(self, name: Name, value: object) -> None:
        """InvalidRequest names the field that was sent before, where it can't be sent again."""
        self._check_new(name)
        if name.key is None:
            self._values[name.field] = value
        elif name.key:
            self._objects.setdefault(name.field, {})[name.key] = value
        else:
            self._lists.setdefault(name.field, []).append(value)

    def _check_new(self, name: Name) -> None:
        field, key = name.field, name.key
        ways = (self._values, self._lists, self._objects)
        way = self._values if key is None else self._objects if key else self._lists
        is_known = any(field in others for others in ways)
        if is_known and field in self._files:
            raise InvalidRequest(f"{field} can be one picture only.", param=field)
        if is_known and field not in way:
            raise InvalidRequest(
                f"{field} can be sent in one way only: as {field}, {field}[] or {field}[key].",
                param=field,
            )
        if key is None and is_known:
            raise InvalidRequest(f"{field} can be sent only once.", param=field)
        if key and key in self._objects.get(field, {}):
            raise InvalidRequest(f"{field}[{key}] can be sent only once.", param=field)

    def as_object(self) -> dict[str, object]:
        """All fields. A `name[]` that came once is the value itself: so some send single ones."""
        lists = {
            field: found if len(found) > 1 else found[0] for field, found in self._lists.items()
        }
        return {**self._values, **lists, **self._objects}
