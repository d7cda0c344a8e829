from __future__ import annotations

import re
from pathlib import Path

from service.commands.settings_table import settings_page
from service.settings import describe

PAGE = Path(__file__).parents[2] / "docs/settings.md"


def test_the_page_in_the_docs_is_current() -> None:
    assert PAGE.read_text() == settings_page(), "mindalle config table > docs/settings.md"


def test_every_setting_is_there_once() -> None:
    names = re.findall(r"^\| `(MINDALLE_\w+)` \|", settings_page(), re.M)

    assert sorted(names) == sorted(name for name, _ in describe())


def test_defaults_and_limits_are_shown() -> None:
    page = settings_page()

    assert "| `MINDALLE_API__PORT` | `8000` | at least 0, at most 65535 |" in page
    assert "| `MINDALLE_LOG_LEVEL` | `info` | `debug`, `info`, `warning`, `error` |" in page
    assert "| `MINDALLE_API_KEYS` |  |  |" in page
    assert "`~/.local/share/mindalle`" in page
