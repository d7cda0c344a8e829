from __future__ import annotations

import base64
from contextlib import nullcontext

import pytest
from pydantic import ValidationError
from redis.asyncio import Redis

from service.answers.schemas import ImageRequest
from service.answers.source_request import TEXT_FIELDS, SourceRequest
from service.api.catalog import Catalog
from service.api.http.problems import invalid_request
from service.broker.workers import ModelCard, WorkerInfo, Workers
from service.errors import DomainError, InvalidRequest, NoPictures

_BAD: dict[str, list[object]] = {
    "image": [7, "%", "https://example.com/a.png", "file:///etc/passwd", "data:image/png,abc"],
    "mask": [True, "no base64!"],
    "fit": ["squash", 1],
    "keep": [-0.1, 1.1, "half", True, float("nan")],
    "strength": [2, "0.5"],
    "blend": ["true", 1],
    "input_fidelity": [3, "\ud800"],
}
_CASES = [(field, value) for field, values in _BAD.items() for value in values]


@pytest.mark.parametrize(("field", "value"), _CASES)
def test_every_message_says_what_is_wanted(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        SourceRequest.model_validate({field: value})
    error = invalid_request(caught.value.errors()[0])
    assert error.param == field
    assert error.message.startswith(field)
    assert "must be " in error.message


def test_pictures_come_as_base64_or_in_a_data_url() -> None:
    text = base64.b64encode(b"picture").decode()
    named = f"DATA:image/png;charset=utf-8;name=a.png;base64,{text}"  # as forms in pages write it
    plain = f"data:image/png;base64,{text}"
    for given in (text, plain, named, f"{text[:4]}\n{text[4:]}", b"picture"):
        assert SourceRequest.model_validate({"image": given}).image == b"picture"


def test_a_request_without_a_picture_is_known_again_as_it_ever_was() -> None:
    """By its digest: idempotency keys outlive an upgrade."""
    body = {"prompt": "a cat", "n": 2, "seed": 7}
    assert SourceRequest(**body).digest() == ImageRequest(**body).digest()  # type: ignore[arg-type]  # of several types
    one, other = (SourceRequest(image=data, prompt="a cat") for data in (b"\xff", b"\xfe"))
    assert one.digest() != other.digest()


def test_only_fields_that_are_text_stay_text_in_a_form() -> None:
    fields = SourceRequest.model_fields
    texts = {name for name, field in fields.items() if "str" in str(field.annotation)}
    texts |= {"response_format", "output_format", "priority", "fit", "image", "mask"}
    assert texts == TEXT_FIELDS


async def test_one_worker_that_takes_no_pictures_is_one_too_many(redis: Redis) -> None:
    catalog = Catalog(Workers(redis), default_model="tiny", known=())
    with pytest.raises(NoPictures):
        await catalog.check_takes_pictures("tiny")
    refusals: tuple[tuple[bool | None, type[DomainError] | None], ...] = (
        (True, None),
        (None, NoPictures),  # one of the release before: it may be gone soon
        (False, InvalidRequest),  # a model that can't: nothing will change that
    )
    for name, (takes, refusal) in zip(("w1", "w2", "w3"), refusals, strict=True):
        card = ModelCard("tiny", takes_pictures=takes)
        await Workers(redis, owner=name).heartbeat(WorkerInfo(name, card, state="ready"))
        fresh = Catalog(Workers(redis), default_model="tiny", known=())
        with pytest.raises(refusal) if refusal else nullcontext():
            await fresh.check_takes_pictures("tiny")
