"""Callers who change their minds: their rows are free again within eight steps."""

from __future__ import annotations

import json
import socket

import pytest

from service.client import Client
from tests.e2e.stack import Stack, Worker

# The time limit is for machines that are busy with other work: a worker starts in the set-up.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PATH = "/v1/images/generations"
ROWS_BUSY = 'mindalle_rows_busy{model="tiny"}'
STEPS = 'mindalle_step_seconds_count{model="tiny"}'
CANCELLED = 'mindalle_rows_left_early_total{model="tiny",reason="cancelled"}'
MAX_STEPS = 8


@pytest.fixture
def stack(slow_stack: Stack) -> Stack:
    """The service with a worker whose steps last."""
    return slow_stack


def _rows_get_busy(stack: Stack, worker: Worker) -> float:
    """Wait until steps are made for a job; gives the number of steps so far."""
    stack.until(lambda: worker.metric(ROWS_BUSY) > 0)
    return worker.metric(STEPS)


def _rows_get_free(stack: Stack, worker: Worker, steps: float, cancelled: float) -> None:
    stack.until(lambda: worker.metric(ROWS_BUSY) == 0)
    assert worker.metric(STEPS) - steps <= MAX_STEPS
    stack.until(lambda: worker.metric(CANCELLED) == cancelled + 4)  # told as the step ends


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_frees_its_rows(stack: Stack, stream: bool) -> None:
    (worker,) = stack.workers
    cancelled = worker.metric(CANCELLED)
    body = json.dumps({"prompt": "never mind", "stream": stream, "num_candidates": 4}).encode()
    with socket.create_connection(("127.0.0.1", int(stack.url.rpartition(":")[2]))) as caller:
        caller.sendall(
            b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (PATH.encode(), len(body), body)
        )
        steps = _rows_get_busy(stack, worker)
    _rows_get_free(stack, worker, steps, cancelled)


def test_a_deleted_job_frees_its_rows(stack: Stack) -> None:
    (worker,) = stack.workers
    cancelled = worker.metric(CANCELLED)
    with Client(stack.url) as client:
        job = client.submit("never mind", num_candidates=4)
        steps = _rows_get_busy(stack, worker)
        assert client.cancel(job.id).status == "cancelled"
        _rows_get_free(stack, worker, steps, cancelled)
        assert client.job(job.id).status == "cancelled"


def test_a_job_that_is_deleted_while_it_waits_costs_nothing(stack: Stack) -> None:
    (worker,) = stack.workers
    with Client(stack.url) as client:
        first = client.submit("the first", num_candidates=32)
        _rows_get_busy(stack, worker)
        waiting = client.submit("never mind", num_candidates=32)
        client.cancel(waiting.id)
        client.wait(first.id)
        assert client.job(waiting.id).attempts == 0
