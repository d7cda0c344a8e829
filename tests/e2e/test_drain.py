"""A worker that is told to end takes no more, finishes what it can, and hands the rest back."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.client import Client
from tests.e2e.stack import Stack, Worker, serving
from tests.servers import free_port

# The time limit is for machines that are busy with other work: workers start within the tests.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

BUSY = 'mindalle_rows_busy{model="tiny"}'
READY = 'mindalle_worker_state{state="ready"}'


@pytest.fixture(scope="module")
def stack(hangups: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A worker of four rows that draws four candidates in some 1.6 s and drains for 15 s."""
    settings = {
        "MINDALLE_WORKER__ROWS": "4",
        "MINDALLE_WORKER__DRAIN_GRACE_S": "15",
        "MINDALLE_TESTING__STEP_DELAY_S": "0.1",
    }
    folder = tmp_path_factory.mktemp("drain")
    with serving(folder, settings=settings) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    (worker,) = stack.workers
    if not worker.is_running:
        worker.start("worker")
        stack.until(lambda: stack.num_serving() == 1)
    with Client(stack.url) as client:
        yield client


@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGHUP, signal.SIGHUP]])
def test_what_runs_is_finished_and_what_waits_stays(
    numbers: list[signal.Signals], stack: Stack, client: Client
) -> None:
    """One terminal that is closed may send SIGHUP twice."""
    (worker,) = stack.workers
    runs = client.submit("runs", seed=1, num_candidates=4)
    waits = client.submit("waits", seed=2, num_candidates=4)
    stack.until(lambda: worker.metric(BUSY) == 4)
    for number in numbers[:-1]:
        worker.send(number)
        stack.until(lambda: worker.metric(READY) == 0)
    assert worker.end(numbers[-1]) == 0
    assert client.job(runs.id).status == "succeeded"
    assert (client.job(waits.id).status, client.job(waits.id).attempts) == ("queued", 0)
    stack.until(lambda: not stack.is_ready())
    worker.start("worker")
    assert client.wait(waits.id).status == "succeeded"
    assert client.job(waits.id).attempts == 1


def test_what_does_not_end_in_time_is_handed_back(stack: Stack, client: Client) -> None:
    (worker,) = stack.workers
    long = client.submit("long", seed=3, num_candidates=24)  # six rounds
    stack.until(lambda: worker.metric(BUSY) == 4)
    worker.send(signal.SIGTERM)
    stack.until(lambda: worker.metric(READY) == 0)
    stack.until(lambda: not stack.is_ready())  # draining is not serving
    assert worker.end(signal.SIGTERM) == 0  # the second signal ends the grace time
    assert (client.job(long.id).status, client.job(long.id).attempts) == ("queued", 0)
    worker.start("worker")
    again = client.wait(long.id)
    assert (again.status, again.attempts) == ("succeeded", 1)
    same = client.submit("long", seed=3, num_candidates=24)
    assert client.wait(same.id).status == "succeeded"
    assert client.image(same.id) == client.image(long.id)


def test_a_worker_that_has_not_begun_ends_by_a_handler_of_its_own(tmp_path: Path) -> None:
    """The kernel keeps all other signals from the first process of a container."""
    away = f"redis://127.0.0.1:{free_port()}/0"
    worker = Worker(0, tmp_path, {"MINDALLE_MODEL": "tiny", "MINDALLE_REDIS__URL": away})
    worker.start("worker")
    while "it does not answer" not in worker.log.read_text():
        assert worker.is_running, worker.log.read_text()
        time.sleep(0.05)
    assert worker.end(signal.SIGTERM) == 128 + signal.SIGTERM
