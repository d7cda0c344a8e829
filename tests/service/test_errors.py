from __future__ import annotations

import inspect

import pytest

from service import errors
from service.errors import DomainError

CLASSES = [
    value
    for name, value in vars(errors).items()
    if not name.startswith("_") and inspect.isclass(value) and issubclass(value, DomainError)
]
ARGUMENTS = {"retry_after_s": 3.0, "model": "tiny", "max_bytes": 9, "message": "Text.",
             "allowed": ["GET"]}  # fmt: skip


def make(error: type[DomainError]) -> DomainError:
    needed = [
        name
        for name, parameter in inspect.signature(error).parameters.items()
        if parameter.default is parameter.empty
    ]
    return error(**{name: ARGUMENTS[name] for name in needed})  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_can_be_shown_to_a_caller(error: type[DomainError]) -> None:
    raised = make(error)
    assert 400 <= raised.status <= 504
    assert raised.code
    assert raised.type
    assert raised.message.endswith(".")
    assert str(raised) == raised.message
    if raised.status in (429, 503) and error is not errors.Unavailable:
        assert raised.retry_after_s
        assert raised.should_retry
    if raised.status == 400:
        assert raised.should_retry is False


def test_codes_are_told_apart() -> None:
    codes = [make(error).code for error in CLASSES]
    assert len(codes) == len(set(codes))
