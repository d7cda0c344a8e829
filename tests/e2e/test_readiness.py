"""Ready means: Redis answers and a live worker that makes progress serves the default model."""

from __future__ import annotations

import signal

import pytest

from service.client import Client
from tests.e2e.stack import Stack

# The time limit is for machines that are busy with other work: a worker starts in the set-up.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture
def stack(slow_stack: Stack) -> Stack:
    """The service with a worker whose steps last."""
    return slow_stack


def _is_not_ready(stack: Stack) -> bool:
    return not stack.is_ready()


def _reason(stack: Stack) -> str:
    reason: str = stack.http.get("/readyz").json()["reason"]
    return reason


def test_a_frozen_worker_is_no_worker(stack: Stack) -> None:
    (worker,) = stack.workers
    worker.send(signal.SIGSTOP)
    stack.until(lambda: _is_not_ready(stack))
    assert "no live worker" in _reason(stack)
    worker.send(signal.SIGCONT)
    stack.until(stack.is_ready)


def test_a_dead_worker_is_no_worker_until_another_has_loaded(stack: Stack) -> None:
    (worker,) = stack.workers
    worker.end(signal.SIGKILL)
    stack.until(lambda: _is_not_ready(stack))
    worker.start("worker")
    stack.until(stack.is_ready)


def test_a_worker_that_drains_takes_the_service_off_and_finishes_its_job(stack: Stack) -> None:
    (worker,) = stack.workers
    with Client(stack.url) as client:
        job = client.submit("the last picture", num_candidates=4)
        stack.until(lambda: client.job(job.id).status == "running")
        worker.send(signal.SIGTERM)
        stack.until(lambda: _is_not_ready(stack))
        assert client.wait(job.id).status == "succeeded"
    stack.until(lambda: not worker.is_running)
    worker.start("worker")
    stack.until(stack.is_ready)


def test_without_redis_nothing_is_ready_and_all_comes_back(
    stack: Stack,
) -> None:
    with Client(stack.url) as client:
        job = client.submit("drawn in spite of it all", num_candidates=4)
        stack.until(lambda: client.job(job.id).status == "running")
        stack.redis.kill()
        stack.until(lambda: _is_not_ready(stack))
        assert _reason(stack) == "redis does not answer"
        assert stack.http.get("/livez").status_code == 200
        stack.redis.start()
        stack.until(stack.is_ready)
        assert client.wait(job.id).status == "succeeded"
