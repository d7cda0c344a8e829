from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from redis.asyncio import Redis

from models.presets.register import VIEW_PARAMETERS
from service.answers.job_request import JobRequest, WebhookRequest
from service.answers.schemas import ImageRequest, is_blank
from service.answers.wanted import in_words
from service.api.http.problems import invalid_request
from tests.service.live_api import LiveApi
from tests.service.painter import CLASS_CARD, UNCOND_CARD, Painter, painting

PATH = "/v1/images/generations"
# What a message for a person never holds: a pattern, a type of Python's, pydantic's own words.
JARGON = re.compile(r"\\d|\^|\$|\[0-9|Input should|pattern|valid dictionary|NoneType|<class|Error")
BAD: dict[str, list[object]] = {
    "prompt": [True, ["a"], 1.5, "\ud800", {}],
    "model": [7, "m" * 201, "\ud800"],
    "n": [0, 11, 1.5, "3", True, [], 10**30],
    "size": ["large", "256", "256X256", "256x256\n", 256, [256, 256]],
    "response_format": ["hex", 1],
    "output_format": ["gif", "PNG", 1],
    "stream": ["true", 1, "yes"],
    "partial_images": [4, -1, "1"],
    "num_candidates": [0, 97, "many"],
    "accept": [3, "x", [], {}, {"min_score": "x"}, {"min_score": float("nan")}, {"least": 0.3}],
    "top_k": [0, -1, 0.5],
    "top_p": [0, 1.01, "0.9"],
    "temperature": [0, 1e-30, 101, "hot", float("nan"), float("inf")],
    "seed": [-1, 2**53, 0.5, "x"],
    "priority": ["highest", 1],
    "enhance": ["yes", 1],
    "deadline_s": [0, -5, "soon"],
    "quality": [1],
    "style": [1],
    "background": [False],
    "moderation": [[]],
    "complexity": [[]],
    "output_compression": ["80", 0.5],
    "user": [17],
    "safety_identifier": [17],
}
HOOK = {"url": "https://shop.example/hook"}
BAD_HOOKS: dict[str, list[object]] = {
    "webhook": [3, "https://shop.example", [], {}, HOOK | {"secret": "x"}],
    "webhook.url": [{"url": url} for url in (None, 3, "", "https://a.b/" + "c" * 2048)],
    "webhook.events": [HOOK | {"events": e} for e in ([], "failed", ["job.failed"], [1], None)],
}
CASES = [(field, value) for field, values in BAD.items() for value in values]


def _message(**body: object) -> str:
    with pytest.raises(ValidationError) as caught:
        ImageRequest.model_validate(body)
    return invalid_request(caught.value.errors()[0]).message


def test_every_field_is_tried() -> None:
    assert set(BAD) == set(ImageRequest.model_fields)
    assert set(BAD_HOOKS) == {
        "webhook",
        *(f"webhook.{name}" for name in WebhookRequest.model_fields),
    }


@pytest.mark.parametrize(("field", "value"), CASES)
def test_every_message_says_what_is_wanted(field: str, value: object) -> None:
    message = _message(**{field: value})
    assert message.startswith(field)
    assert " must be " in message
    assert "such as" in message or '"' in message or "true or false" in message
    assert message.endswith(".")
    assert not JARGON.search(message)


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in BAD_HOOKS.items() for value in values]
)
def test_a_field_in_a_webhook_is_named(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        JobRequest.model_validate({"prompt": "a", "webhook": value})
    error = invalid_request(caught.value.errors()[0])
    assert error.param is not None
    assert error.param == field or value == {}
    assert error.message.startswith(f"{error.param} must be ")
    assert not JARGON.search(error.message)


def test_messages_in_full() -> None:
    assert _message(seed=-1) == (
        "seed must be a whole number from 0 to 9007199254740991, such as 7; -1 is not. "
        "Leave it out for a random one."
    )
    assert _message(size="1024*1024") == (
        'size must be "auto", or width and height in pixels, such as "256x256"; "1024*1024" is not.'
    )
    assert _message(n=11) == "n must be a whole number from 1 to 10, such as 4; 11 is not."
    assert _message(user="\udfff") == (
        "user: the text holds half a character (a lone surrogate). "
        'It must be a text, such as "user-17". It has no effect here.'
    )
    assert _message(accept={"min_score": 1, "max_score": 2}) == (
        'accept must be a least score, such as {"min_score": 0.3}; there is no "max_score" in it. '
        "Leave it out to draw all."
    )
    assert _message(response_format="x" * 31) == 'response_format must be "url" or "b64_json".'
    assert _message(sed=7) == "There is no field 'sed'. Did you mean 'seed'?"
    assert _message(image="x") == "'image' has no meaning here; /docs lists what has."
    assert _message(webhook={}) == "'webhook' has no meaning here; /docs lists what has."
    assert _message(cfg_scale=7) == "There is no field 'cfg_scale'. /docs lists those there are."


async def _error(http: httpx.AsyncClient, method: str, path: str, **options: Any) -> dict[str, Any]:
    answer = await http.request(method, path, **options)
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert not JARGON.search(error["message"])
    return error


async def test_headers_and_addresses_are_told_in_words(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    job = (await http.post("/v1/jobs", json={"prompt": "a"})).json()
    where = f"/v1/jobs/{job['id']}"
    last = await _error(http, "GET", f"{where}/events", headers={"last-event-id": "yesterday"})
    assert last["param"] == "last-event-id"
    assert 'such as "1795511214662-0"; "yesterday" is not' in last["message"]
    key = await _error(http, "POST", "/v1/jobs", json={"prompt": "a"},
                       headers={"idempotency-key": "k" * 256})  # fmt: skip
    assert key["message"] == 'idempotency-key must be 1 to 255 characters, such as "order-17".'
    for rank in ("best", "10", "-1", "1.5"):
        error = await _error(http, "GET", f"{where}/images/{rank}")
        assert error["message"].startswith("rank must be a whole number from 0 to 9")


@pytest.mark.parametrize(
    ("content", "start"),
    [
        (b"{", "The body is not valid JSON after 1 characters."),
        (b'{"prompt": }', "The body is not valid JSON after 11 characters."),
        (b"prompt=a", "The body is not valid JSON after 0 characters."),
        (b"[]", "Send a JSON object"),
        (b'"a red apple"', "Send a JSON object"),
        (b"null", "Send a JSON object"),
        (b"[" * 60_000, "The body can't be read as JSON."),
        (b"\xff\xfe{", "The body can't be read as JSON."),
    ],
)
async def test_a_body_of_another_form_is_told_the_right_one(
    http: httpx.AsyncClient, content: bytes, start: str
) -> None:
    json_type = {"content-type": "application/json"}
    error = await _error(http, "POST", PATH, content=content, headers=json_type)
    assert error["message"].startswith(start)
    assert 'such as {"prompt": "a red apple"}' in error["message"]


@pytest.mark.parametrize(
    ("body", "param", "start"),
    [
        ('{"prompt": "a", "seed": -%s}', "seed", "seed must be a whole number from 0 to"),
        ('{"prompt": "a", "top_k": [1, [{"a": %s}]]}', "top_k", "top_k must be a whole number"),
        ('{"prompt": "a", "nothing": %s}', "nothing", "A number in the body has more than 4300"),
        ("[%s]", None, "A number in the body has more than 4300 digits."),
        ('{"seed": %s, }', None, "A number in the body has more than 4300 digits."),
    ],
)
async def test_a_number_of_thousands_of_digits_is_told(
    http: httpx.AsyncClient, body: str, param: str | None, start: str
) -> None:
    content, json_type = body % ("9" * 5000), {"content-type": "application/json"}
    error = await _error(http, "POST", PATH, content=content, headers=json_type)
    assert error["message"].startswith(start)
    assert "more than 4300 digits" in error["message"]
    assert error["param"] == param


async def test_a_name_that_no_encoding_can_store_is_an_unknown_field(
    http: httpx.AsyncClient,
) -> None:
    json_type = {"content-type": "application/json"}
    content = r'{"prompt": "a", "promp\ud800": 1}'
    error = await _error(http, "POST", PATH, content=content, headers=json_type)
    assert error["message"] == r"There is no field 'promp\ud800'. Did you mean 'prompt'?"
    assert (error["param"], error["code"]) == (r"promp\ud800", "unknown_parameter")


@pytest.mark.parametrize("name", ["body", "query", "path", "header", "cookie"])
async def test_a_field_may_be_called_as_a_part_of_a_request(
    http: httpx.AsyncClient, name: str
) -> None:
    unknown = await _error(http, "POST", PATH, json={"prompt": "a", name: 1})
    assert (unknown["param"], unknown["code"]) == (name, "unknown_parameter")
    body = {"prompt": "a", "webhook": HOOK | {name: 1}}
    inner = await _error(http, "POST", "/v1/jobs", json=body)
    assert inner["param"] == "webhook"
    assert f'there is no "{name}" in it' in inner["message"]


async def test_whatever_the_document_names_has_its_words(http: httpx.AsyncClient) -> None:
    """A new field or header without words would be answered with a 500."""
    document = (await http.get("/openapi.json")).json()
    names = set(document["components"]["schemas"]["ImageRequest"]["properties"])
    for path in document["paths"].values():
        for operation in path.values():
            names |= {one["name"] for one in operation.get("parameters", [])}
    names -= set(VIEW_PARAMETERS)  # what they can be, each job says
    for name in names - {"job_id", "model"}:  # any text is one; an unknown one is not found
        assert in_words(name, {"type": "missing", "input": None}).startswith(f"{name} must be")


UNSEEN = ["", " ", "   \n\t ", "\u00a0\u2003", "\u200b\u200d\ufeff", "\u2028", "\x00"]


@pytest.mark.parametrize("prompt", UNSEEN)
async def test_a_prompt_of_nothing_but_spaces_is_none(
    http: httpx.AsyncClient, painter: Painter, redis: Redis, prompt: str
) -> None:
    error = await _error(http, "POST", PATH, json={"prompt": prompt})
    assert error["param"] == "prompt"
    assert error["message"] == 'tiny needs a text as its prompt, such as "a red apple".'
    async with painting(redis, CLASS_CARD), painting(redis, UNCOND_CARD):
        await _until_served(http, 3)
        body = {"prompt": prompt, "model": "tiny-class"}
        error = await _error(http, "POST", PATH, json=body)
        assert "a whole number from 0 to 9, such as 5" in error["message"]
        body["model"] = "tiny-uncond"
        assert (await http.post(PATH, json=body)).status_code == 200


async def _until_served(http: httpx.AsyncClient, num_models: int) -> None:
    while len((await http.get("/v1/models")).json()["data"]) < num_models:
        pass


@pytest.mark.parametrize("text", ["a", " a ", ".", "🐈", "\u200d🐈", "0", "ａ"])
def test_what_can_be_seen_is_a_prompt(text: str) -> None:
    assert not is_blank(text)


async def test_what_a_model_can_not_do_is_told_with_what_it_can(
    http: httpx.AsyncClient, painter: Painter, api: LiveApi
) -> None:
    bodies: list[tuple[dict[str, object], str]] = [
        ({"size": "64x64"}, '"32x32"'),
        ({"top_k": 65}, "64 codes"),
        ({"num_candidates": 2, "n": 3}, "at least n, which is 3"),
        ({"deadline_s": 1e6}, "at most 900"),
    ]
    for body, told in bodies:
        error = await _error(http, "POST", PATH, json={"prompt": "a"} | body)
        assert told in error["message"]
        assert error["param"] in body
    accept = {"accept": "image/webp"}
    body = {"prompt": "a", "output_format": "png"}
    error = await _error(http, "POST", PATH, json=body, headers=accept)
    assert error["message"] == 'output_format must be "webp", as Accept asks, or be left out.'
    unknown = await http.post(PATH, json={"prompt": "a", "model": "dall-e-9"})
    assert "/v1/models lists those there are" in json.loads(unknown.content)["error"]["message"]
