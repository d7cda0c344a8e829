from __future__ import annotations

import pytest

from service.errors import StartRefused
from service.settings import load


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("API__PORT", "abc", "it must be a whole number, such as 8000"),
        ("API__PORT", "70000", "it must be at most 65535, such as 8000"),
        ("API__PORT", "-1", "it must be at least 0, such as 8000"),
        ("API__PLAYGROUND", "ja", "it must be true or false"),
        ("LOG_LEVEL", "loud", "it must be 'debug', 'info', 'warning' or 'error'"),
        ("API__SIZES", "all", "it must be 'native' or 'any'"),
        ("WORKER__ROWS", "2.5", "it must be a whole number"),
        ("WORKER__ROWS", "0", "it must be at least 1"),
        ("QUEUE__LEASE_S", "soon", "it must be a number, such as 20.0"),
        ("QUEUE__KEY_SHARE", "0", "it must be more than 0.0, such as 1.0"),
        ("API__DEFAULT_DEADLINE_S", "-1", "it must be more than 0.0, such as 120.0"),
    ],
)
def test_a_wrong_value_is_told_what_would_be_right(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"MINDALLE_{name}", value)
    with pytest.raises(StartRefused) as caught:
        load()
    assert str(caught.value) == f"MINDALLE_{name}: {words}"
