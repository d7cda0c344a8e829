from __future__ import annotations

import json
from dataclasses import fields

import pytest
from pydantic import ValidationError

from models.configs.preset import SamplingDefaults
from service.answers.job_answer import JobAnswer
from service.answers.schemas import (
    ImageRequest,
    JobParameters,
    ModelDefaults,
    SourceParameters,
)
from service.answers.source_request import SourceRequest
from service.api.http.problems import invalid_request
from service.client.protocol import Parameters
from service.jobs import Recipe
from service.sources.source import Source


def _parse(text: str) -> ImageRequest:
    return ImageRequest.model_validate(json.loads(text))


def _problem(text: str) -> tuple[str | None, str]:
    with pytest.raises(ValidationError) as caught:
        _parse(text)
    error = invalid_request(caught.value.errors()[0])
    return error.param, error.code


def test_what_is_left_out_or_null_is_the_same_request() -> None:
    left_out = _parse('{"prompt": "a cat"}')
    null = _parse('{"prompt": "a cat", "seed": null, "top_k": null, "model": null}')
    assert left_out == null
    assert left_out.digest() == null.digest()


@pytest.mark.parametrize("said", ['"n": 1', '"n": null', '"size": null', '"priority": "normal"'])
def test_a_default_or_null_says_nothing_to_the_digest(said: str) -> None:
    assert (
        _parse(f'{{"prompt": "a cat", {said}}}').digest() == _parse('{"prompt": "a cat"}').digest()
    )


def test_every_field_counts_for_the_digest() -> None:
    assert _parse('{"prompt": "a"}').digest() != _parse('{"prompt": "b"}').digest()
    assert _parse('{"prompt": "1"}').digest() != _parse('{"prompt": 1}').digest()
    assert _parse('{"seed": 1}').digest() != _parse('{"seed": 2}').digest()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ('{"n": 0}', "n"),
        ('{"n": 11}', "n"),
        ('{"n": 1.5}', "n"),
        ('{"n": true}', "n"),
        ('{"n": "3"}', "n"),
        ('{"num_candidates": 97}', "num_candidates"),
        ('{"num_candidates": 0}', "num_candidates"),
        ('{"top_k": 0}', "top_k"),
        ('{"top_k": -1}', "top_k"),
        ('{"top_p": 0}', "top_p"),
        ('{"top_p": 1.01}', "top_p"),
        ('{"temperature": 0}', "temperature"),
        ('{"temperature": NaN}', "temperature"),
        ('{"temperature": Infinity}', "temperature"),
        ('{"temperature": 1e-30}', "temperature"),
        ('{"accept": {}}', "accept"),
        ('{"accept": {"min_score": "0.3"}}', "accept"),
        ('{"accept": {"max_score": 1}}', "accept"),
        ('{"top_k": [1, true]}', "top_k"),
        ('{"top_p": [[0.5]]}', "top_p"),
        ('{"seed": -1}', "seed"),
        ('{"seed": 9007199254740992}', "seed"),
        ('{"seed": 1e300}', "seed"),
        ('{"size": "large"}', "size"),
        ('{"size": "256x256\\n"}', "size"),
        ('{"response_format": "hex"}', "response_format"),
        ('{"output_format": "gif"}', "output_format"),
        ('{"partial_images": 4}', "partial_images"),
        ('{"stream": "true"}', "stream"),
        ('{"priority": "highest"}', "priority"),
        ('{"deadline_s": 0}', "deadline_s"),
        ('{"prompt": true}', "prompt"),
        ('{"prompt": ["a"]}', "prompt"),
        ('{"prompt": 1.5}', "prompt"),
        ('{"prompt": "\\ud800"}', "prompt"),
        ('{"user": "\\udfff"}', "user"),
    ],
)
def test_a_bad_field_is_named(body: str, param: str) -> None:
    assert _problem(body) == (param, "invalid_value")


def test_an_unknown_field_is_named() -> None:
    assert _problem('{"prompt": "a", "cfg_scale": 3}') == ("cfg_scale", "unknown_parameter")


def test_a_field_name_that_is_no_text_is_named_escaped() -> None:
    assert _problem('{"\\ud800": 3}') == ("\\ud800", "unknown_parameter")


def test_openai_fields_without_meaning_here_are_accepted() -> None:
    body = _parse(
        '{"prompt": "a", "quality": "hd", "style": "vivid", "background": "opaque",'
        ' "moderation": "low", "output_compression": 80, "complexity": "low", "user": "u1",'
        ' "safety_identifier": "u1"}'
    )
    assert body.prompt == "a"


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert _parse('{"n": 2.0}').n == 2


def test_prompts_keep_every_letter() -> None:
    text = "  два кота\u0000 🐈‍⬛\n"
    assert _parse(json.dumps({"prompt": text})).prompt == text


def test_requests_answers_and_clients_speak_of_all_that_a_recipe_holds() -> None:
    recipe = {field.name for field in fields(Recipe)} - {"source"}
    assert {field.name for field in fields(Source)} == SourceParameters.model_fields.keys()
    assert {"fit", "keep", "strength", "blend"} <= SourceRequest.model_fields.keys()
    assert recipe <= ImageRequest.model_fields.keys()
    named_itself = {"model", "enhance"}  # by an answer, beside its parameters
    assert recipe - named_itself <= JobParameters.model_fields.keys()
    assert named_itself <= JobAnswer.model_fields.keys()
    assert recipe - {"prompt"} <= Parameters.__annotations__.keys()
    assert {field.name for field in fields(SamplingDefaults)} == ModelDefaults.model_fields.keys()
    assert ModelDefaults.model_fields.keys() <= recipe
