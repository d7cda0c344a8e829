"""The running service, started once for many tests, each time on a Valkey of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack, serving


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One API and one worker with `tiny`."""
    with serving(tmp_path_factory.mktemp("stack"), durable=True) as running:
        yield running


@pytest.fixture(scope="session")
def slow_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The same where each of the sixteen steps takes a while, so that there is time to look."""
    slow = {"MINDALLE_TESTING__STEP_DELAY_S": "0.2"}
    with serving(tmp_path_factory.mktemp("slow"), durable=True, settings=slow) as running:
        yield running
