"""Two hundred files that nobody should send: no fault of ours, and no process that grows."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.e2e.stack import Stack
from tests.service.files import file_of, noise
from tests.service.sources.hostile import hostile_files

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
_MOST_BYTES = 1_000_000_000


def _send(stack: Stack, data: bytes) -> tuple[httpx.Response, float]:
    body = {"prompt": "a red cube", "num_candidates": "1"}
    began = time.monotonic()
    answer = stack.http.post("/v1/images/edits", data=body, files={"image": ("a.png", data)})
    return answer, time.monotonic() - began


def test_each_is_a_picture_or_one_clear_error(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    with ThreadPoolExecutor(4) as crowd:
        answers = list(crowd.map(lambda data: _send(stack, data), hostile_files()))
    assert len(answers) == 200
    refused = [answer for answer, _ in answers if answer.status_code != 200]
    assert len(refused) > 100
    for answer in refused:
        assert answer.status_code in (400, 413), answer.text
        error = answer.json()["error"]
        assert error["param"] == "image" or answer.status_code == 413
        assert len(error["message"]) < 120
    slowest = max(seconds for _, seconds in answers)
    record_property("slowest_s", round(slowest, 2))
    record_property("api_megabytes", stack.api.peak_bytes // 1_000_000)
    assert stack.api.peak_bytes < _MOST_BYTES
    assert all(worker.peak_bytes < _MOST_BYTES for worker in stack.workers)
    assert _send(stack, file_of(noise()))[0].status_code == 200  # and it is well
