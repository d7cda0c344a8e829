"""The running service, started once for many tests, each time on a Valkey of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack, serving
from tests.stores import S3Server, s3_settings


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One API and one worker with `tiny`."""
    with serving(tmp_path_factory.mktemp("stack"), durable=True) as running:
        yield running


@pytest.fixture(scope="session")
def s3_stack(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[Stack]:
    """The same where a bucket keeps the results."""
    place = s3_settings(s3_server.url)
    settings = {"MINDALLE_RESULTS__URL": place.url, "MINDALLE_RESULTS__ENDPOINT": s3_server.url}
    with serving(tmp_path_factory.mktemp("s3_stack"), settings=settings) as running:
        yield running


@pytest.fixture(params=["stack", "s3_stack"])
def any_stack(request: pytest.FixtureRequest) -> Stack:
    """Each kind of store in turn."""
    running: Stack = request.getfixturevalue(request.param)
    return running


@pytest.fixture(scope="session")
def slow_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The same where each of the sixteen steps takes a while, so that there is time to look."""
    slow = {"MINDALLE_TESTING__STEP_DELAY_S": "0.2"}
    with serving(tmp_path_factory.mktemp("slow"), durable=True, settings=slow) as running:
        yield running
