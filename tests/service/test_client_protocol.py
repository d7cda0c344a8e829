"""How the client reads answers and what it lets into headers, without a server."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.client import ApiError
from service.client.protocol import EventParser, Retries, headers_of, idempotent


def _answer(status: int, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, json={})


@pytest.mark.parametrize(
    ("answer", "delay_s"),
    [
        (_answer(429, retry_after="3"), 3.0),
        (_answer(429, retry_after="3", retry_after_ms="2500"), 2.5),
        (_answer(400, x_should_retry="true", retry_after="1"), 1.0),
        (_answer(503, retry_after="0"), 0.0),
    ],
)
def test_the_headers_say_when_to_come_back(answer: httpx.Response, delay_s: float) -> None:
    assert Retries(3).delay_after(answer) == delay_s


@pytest.mark.parametrize(
    "answer",
    [
        _answer(400),
        _answer(404),
        _answer(422),
        _answer(503, x_should_retry="false"),
        _answer(429, retry_after="600"),
    ],
)
def test_some_answers_are_final(answer: httpx.Response) -> None:
    with pytest.raises(ApiError):
        Retries(3).delay_after(answer)


def test_without_advice_the_delay_grows_and_ends() -> None:
    retries, failure = Retries(3), _answer(500)
    delays = [retries.delay_after(failure) for _ in range(3)]
    assert 0.25 <= delays[0] <= 0.5 <= delays[1] <= 1.0 <= delays[2] <= 2.0
    with pytest.raises(ApiError, match="HTTP 500"):
        retries.delay_after(failure)


def test_events_are_put_together_from_lines() -> None:
    parser = EventParser()
    lines = [": still here", "", "id: 7-0", "event: progress", 'data: {"a":1}', ""]
    (event,) = [event for line in lines if (event := parser.feed(line))]
    assert (event.name, event.data, event.id, event.is_last) == ("progress", {"a": 1}, "7-0", False)


def test_a_foreign_error_page_is_an_error_too() -> None:
    error = ApiError.of(httpx.Response(502, text="<html>Bad gateway</html>"))
    values: tuple[Any, ...] = (error.status, str(error), error.code)
    assert values[::2] == (502, None)
    assert values[1].startswith("HTTP 502, not in this service's form")


@pytest.mark.parametrize("key", ["é", "two\nlines", "\x00"])
def test_what_no_header_can_carry_is_no_key(key: str) -> None:
    with pytest.raises(ValueError, match="API key holds letters"):
        headers_of(key)
    with pytest.raises(ValueError, match="idempotency key holds letters"):
        idempotent(key)


@pytest.mark.parametrize("key", [" ", "key ", " key"])
def test_nor_is_one_with_a_space_at_an_end(key: str) -> None:
    with pytest.raises(ValueError, match="API key begins or ends with a space"):
        headers_of(key)
    with pytest.raises(ValueError, match="idempotency key begins or ends with a space"):
        idempotent(key)


def test_an_empty_key_is_none() -> None:
    assert headers_of("") == headers_of(None) == {}
    assert headers_of("two words") == {"authorization": "Bearer two words"}


def test_a_job_without_a_key_gets_one_of_its_own() -> None:
    assert idempotent("k") == {"idempotency-key": "k"}
    assert idempotent(None) != idempotent(None)
