"""Redis dies in the middle of the work and comes back with its append-only file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.answers.job_answer import JobAnswer
from service.client import Client
from tests.e2e.stack import Stack, serving

# The time limit is for machines that are busy with other work: a worker starts in the set-up.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ENDS = {"succeeded", "failed", "cancelled", "expired"}
BUSY = 'mindalle_rows_busy{model="tiny"}'
STEPS = 'mindalle_step_seconds_count{model="tiny"}'


@pytest.fixture(scope="module", params=["valkey", "redis"])
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A worker of eight rows on Valkey 9, then on the system's Redis."""
    settings = {"MINDALLE_WORKER__ROWS": "8", "MINDALLE_TESTING__STEP_DELAY_S": "0.1"}
    folder = tmp_path_factory.mktemp(request.param)
    with serving(folder, kind=request.param, durable=True, settings=settings) as running:
        yield running


def _submit(client: Client, number: int) -> JobAnswer:
    return client.submit(f"thing {number}", seed=number, num_candidates=4)


def _names(client: Client, job: JobAnswer) -> list[str]:
    return [event.name for event in client.follow(job.id)]


def test_every_accepted_job_ends_once_with_the_same_bytes(stack: Stack) -> None:
    (worker,) = stack.workers
    with Client(stack.url) as client:
        first = [_submit(client, number) for number in range(4)]
        assert [client.wait(job.id).status for job in first] == ["succeeded"] * 4
        jobs = [_submit(client, number) for number in range(4)]
        stack.until(lambda: worker.metric(BUSY) == 8)
        steps = worker.metric(STEPS)
        stack.redis.kill()
        stack.until(lambda: stack.http.get("/readyz").status_code == 503)
        assert stack.http.post("/v1/jobs", json={"prompt": "x"}).status_code == 503
        stack.until(lambda: worker.metric(BUSY) == 0)  # it went on without Redis
        assert worker.metric(STEPS) > steps
        stack.redis.start()
        for job in jobs:
            assert [name for name in _names(client, job) if name in ENDS] == ["succeeded"]
        assert [client.job(job.id).attempts for job in jobs] == [1] * 4
        assert [client.image(job.id) for job in jobs] == [client.image(job.id) for job in first]
    stack.until(stack.is_ready)
