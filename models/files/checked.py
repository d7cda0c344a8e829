"""Values out of a YAML or JSON document → a dataclass, checked against its types by pydantic.

The dataclass alone says which keys there are, what a value may be and what stands in for a missing
one. What values mean together is for their reader to check.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from models.errors import ConfigError

Shape = TypeVar("Shape")


def checked(
    shape: type[Shape], values: Any, path: str = "", places: Mapping[str, str] | None = None
) -> Shape:
    """Build a dataclass from a mapping, by JSON's strict rules: 1 is not true, "1" is no number.

    Args:
        shape: the dataclass.
        values: a mapping; Any, because that is checked first.
        path: of the values in their document, for messages.
        places: fields that stand elsewhere, and where.

    Raises:
        ConfigError: an unknown key, or a value of the wrong type or size, by its path.
    """
    try:
        text = json.dumps(_with_numbers(shape, values), default=str)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path or 'the document'}: no plain values: {error}") from error
    try:
        return TypeAdapter(shape).validate_json(text, strict=True, extra="forbid")
    except ValidationError as error:
        raise ConfigError(_message(error.errors(), path, places or {})) from None


def _with_numbers(shape: type[Any], values: Any) -> Any:
    """YAML 1.1, unlike people, reads 1e-4 as text: where a number belongs, that is one."""
    if not isinstance(values, dict):
        return values
    numbers = {}
    for name, hint in get_type_hints(shape).items():
        if isinstance(values.get(name), str) and float in (hint, *get_args(hint)):
            with suppress(ValueError):
                numbers[name] = float(values[name])
    return values | numbers


def _message(errors: Sequence[ErrorDetails], path: str, places: Mapping[str, str]) -> str:
    """All unknown keys, or, because they are mostly the cause of it, else all that is wrong."""
    found = [(_place(error["loc"], path, places), error) for error in errors]
    unknown = [place for place, error in found if error["type"] == "unexpected_keyword_argument"]
    if unknown:
        return f"unknown key: {', '.join(unknown)}"
    return "; ".join(f"{place or 'the document'}: {_complaint(error)}" for place, error in found)


def _place(loc: tuple[int | str, ...], path: str, places: Mapping[str, str]) -> str:
    if loc and loc[0] in places:
        path, loc = places[str(loc[0])], loc[1:]
    return ".".join([path, *map(str, loc)]).lstrip(".")


def _complaint(error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return "must be given"
    if error["type"] in ("dataclass_type", "dict_type"):
        return "must be a mapping"
    return f"{error['msg'].removeprefix('Input ')}, not {error['input']!r}"
