"""Random requests, made from the OpenAPI document: every answer must be one that it shows."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from service.api.app import create_app
from service.settings import Settings
from tests.servers import RedisServer
from tests.service.background_api import BackgroundApi

API_KEY = "a-key-for-conformance"


@pytest.fixture(scope="module")
def base_url(valkey_server: RedisServer) -> Iterator[str]:
    background = BackgroundApi(valkey_server, API_KEY)
    background.start()
    yield background.url
    background.stop()


def _document() -> dict[str, Any]:
    """The document, with models that exist and deadlines that can be met; else nothing is drawn."""
    document = copy.deepcopy(create_app(Settings()).openapi())
    for name in ("ImageRequest", "JobRequest", "PictureRequest"):
        fields = document["components"]["schemas"][name]["properties"]
        fields["model"] = {"enum": ["tiny", "tiny-class", "tiny-uncond"]}
        fields["deadline_s"] = {"type": "number", "minimum": 20, "maximum": 100}
    return document


SCHEMA = schemathesis.openapi.from_dict(_document())
RESULTS = [result.ok() for result in SCHEMA.get_all_operations() if isinstance(result, Ok)]
OPERATIONS = {operation.label: operation for operation in RESULTS}
# The document can't say which prompts, sizes and numbers which model takes: a 400 is fine there.
# That keys are looked at is tested elsewhere; here every request carries one.
EXCLUDED = [positive_data_acceptance, ignored_auth]
# An operation that takes nothing can't be asked wrongly.
CASES = [(label, GenerationMode.POSITIVE) for label in OPERATIONS] + [
    (label, GenerationMode.NEGATIVE)
    for label, operation in OPERATIONS.items()
    if operation.body or operation.path_parameters
]


@pytest.mark.parametrize(("label", "mode"), CASES)
def test_every_answer_is_in_the_document(base_url: str, label: str, mode: GenerationMode) -> None:
    """With requests that the document allows and with requests that it does not."""

    @given(case=OPERATIONS[label].as_strategy(generation_mode=mode))
    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def conforms(case: schemathesis.Case[Any]) -> None:
        headers = {"authorization": f"Bearer {API_KEY}"}
        case.call_and_validate(
            base_url=base_url, headers=headers, excluded_checks=EXCLUDED, timeout=20
        )

    conforms()
