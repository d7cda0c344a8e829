"""The settings as a page of the documentation, made from the settings class itself.

Reads no environment: it shows defaults and limits, not values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from service.settings import Settings

_HEAD = """# Settings

Made from `service/settings.py` by `mindalle config table`; a test keeps it current. Every setting
is an environment variable. An unknown `MINDALLE_` variable or a wrong value stops the start with
its name and the reason; an empty one counts as unset. `mindalle config show` prints the values
that are in force, with secrets hidden. What people type is a flag as well, which wins: `--host
--port --model --models --checkpoint --device --rows --redis`, where `mindalle serve`, `api` or
`worker` has a use for it.
"""
_SIGNS: tuple[tuple[type[Any], str, str], ...] = (
    (Gt, "gt", "above"),
    (Ge, "ge", "at least"),
    (Lt, "lt", "below"),
    (Le, "le", "at most"),
)


def settings_page() -> str:
    """The whole page, as Markdown."""
    sections = [_HEAD, _table("General", "MINDALLE_", Settings)]
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            title = (group.__doc__ or name).strip().splitlines()[0].rstrip(".")
            sections.append(_table(title, f"MINDALLE_{name.upper()}__", group))
    return "\n".join(sections)


def _table(title: str, prefix: str, group: type[BaseModel]) -> str:
    lines = [f"## {title}", "", "| variable | default | values | |", "| --- | --- | --- | --- |"]
    lines += _rows(prefix, group)
    return "\n".join(lines) + "\n"


def _rows(prefix: str, group: type[BaseModel]) -> Iterator[str]:
    for name, field in group.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            continue
        cells = (f"`{prefix}{name.upper()}`", _default(field), _values(field), field.description)
        yield "| " + " | ".join((cell or "").replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=False)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        value = str(value).lower()
    return f"`{value}`" if value not in (None, "") else ""


def _values(field: FieldInfo) -> str:
    kind = field.annotation
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    limits = [
        f"{word} {getattr(mark, attribute)}"
        for mark in field.metadata
        for cls, attribute, word in _SIGNS
        if isinstance(mark, cls)
    ]
    return ", ".join(limits)
