"""The running service, started once for many tests, each time on a Valkey of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.e2e.stack import Stack
from tests.servers import RedisServer


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One API and one worker with `tiny`."""
    yield from _running(tmp_path_factory.mktemp("stack"))


@pytest.fixture(scope="session")
def slow_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The same where each of the sixteen steps takes a while, so that there is time to look."""
    slow = {"MINDALLE_TESTING__STEP_DELAY_S": "0.2"}
    yield from _running(tmp_path_factory.mktemp("slow"), slow)


def _running(folder: Path, settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[Stack]:
    valkey = RedisServer("valkey", folder, durable=True)
    valkey.start()
    running = Stack(valkey, folder, settings=settings)
    running.start()
    yield running
    running.stop()
    valkey.stop()
