"""What is wrong with a setting's value, in words and with an example in place of pydantic's own.

Knows no setting's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_WANTED: Mapping[str, str] = MappingProxyType(
    {
        "int_parsing": "a whole number",
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "float_parsing": "a number",
        "float_type": "a number",
        "finite_number": "a number",
        "bool_parsing": "true or false",
        "bool_type": "true or false",
        "greater_than": "more than {gt}",
        "greater_than_equal": "at least {ge}",
        "less_than": "less than {lt}",
        "less_than_equal": "at most {le}",
        "literal_error": "{expected}",
    }
)


def in_words(problem: Mapping[str, Any], default: object) -> str:
    """A validation error of pydantic for a person; the default serves as the example."""
    wanted = _WANTED.get(problem["type"])
    if wanted is None:
        return str(problem["msg"]).removeprefix("Value error, ")
    is_number = isinstance(default, int | float) and not isinstance(default, bool)
    example = f", such as {default}" if is_number else ""
    return f"it must be {wanted.format(**problem.get('ctx', {}))}{example}"
