"""Random requests, made from the OpenAPI document: every answer must be one that it shows."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from pydantic import SecretStr
from redis.asyncio import Redis
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from service.app import create_app
from service.settings import Settings
from tests.servers import RedisServer
from tests.service.live_api import api_settings, serving
from tests.service.painter import CLASS_CARD, TEXT_CARD, UNCOND_CARD, painting

API_KEY = "a-key-for-conformance"


class Background:
    """The API and painters for all kinds of prompt, in a loop on a thread of their own."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self.url = ""

    async def _run(self) -> None:
        redis = Redis.from_url(self._server.url)
        roomy = {"key_rate_per_s": 100_000, "key_burst": 1_000_000}
        settings = api_settings(self._server, queue=roomy, api_keys=SecretStr(API_KEY))
        async with (
            serving(settings) as api,
            painting(redis, TEXT_CARD),
            painting(redis, CLASS_CARD),
            painting(redis, UNCOND_CARD),
        ):
            self.url = api.url
            self._started.set()
            await self._stop.wait()
        await redis.aclose()

    def start(self) -> None:
        """Return when it serves."""
        self._thread.start()
        assert self._started.wait(20)

    def stop(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        self._loop.close()


@pytest.fixture(scope="module")
def base_url(valkey_server: RedisServer) -> Iterator[str]:
    background = Background(valkey_server)
    background.start()
    yield background.url
    background.stop()


def _document() -> dict[str, Any]:
    """The document, with models that exist and deadlines that can be met; else nothing is drawn."""
    document = copy.deepcopy(create_app(Settings()).openapi())
    fields = document["components"]["schemas"]["ImageRequest"]["properties"]
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
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    def conforms(case: schemathesis.Case[Any]) -> None:
        headers = {"authorization": f"Bearer {API_KEY}"}
        case.call_and_validate(
            base_url=base_url, headers=headers, excluded_checks=EXCLUDED, timeout=20
        )

    conforms()
