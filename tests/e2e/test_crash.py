"""Workers that die, freeze or meet a prompt that kills them: no job is lost, none ends twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import httpx
import pytest

from service.answers.job_answer import JobAnswer
from service.client import Client
from service.client.protocol import Parameters
from tests.e2e.stack import Stack, Worker, serving
from tests.service.files import file_of, mask_of, noise, square_hole

# The time limit is for machines that are busy with other work: workers start within the tests.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ENDS = {"succeeded", "failed", "cancelled", "expired"}
LEASE_S = 2.0
BUSY = 'mindalle_rows_busy{model="tiny"}'
LOST = 'mindalle_worker_leases_lost_total{model="tiny"}'


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two workers of eight rows, whose steps last, and short leases."""
    settings = {
        "MINDALLE_WORKER__ROWS": "8",
        "MINDALLE_QUEUE__LEASE_S": str(LEASE_S),
        "MINDALLE_QUEUE__SWEEP_INTERVAL_S": "0.2",
        "MINDALLE_TESTING__STEP_DELAY_S": "0.06",
        "MINDALLE_TESTING__POISON_PROMPT": "poison",
        "MINDALLE_TESTING__KILL_PROMPT": "deadly",
    }
    folder = tmp_path_factory.mktemp("crash")
    with serving(folder, num_workers=2, settings=settings) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.url) as client:
        yield client


def submit(client: Client, number: int, prompt: str | None = None) -> JobAnswer:
    """A job of four candidates, half a worker's rows; odd ones begin with a picture."""
    parameters = Parameters(seed=number, num_candidates=4, n=2)
    if number % 2:
        parameters["image"] = file_of(noise(seed=number))
        parameters["mask"] = mask_of(square_hole())
    return client.submit(prompt or f"thing {number}", **parameters)


def pictures(client: Client, job: JobAnswer) -> list[bytes]:
    """Both pictures of a job, which must end well and once."""
    names = [event.name for event in client.follow(job.id)]
    assert [name for name in names if name in ENDS] == ["succeeded"], names
    assert client.job(job.id).status == "succeeded"
    return [client.image(job.id, rank) for rank in range(2)]


@pytest.fixture(scope="module")
def undisturbed(stack: Stack) -> list[list[bytes]]:
    """What jobs 0 to 5 give when nothing happens."""
    with Client(stack.url) as client:
        jobs = [submit(client, number) for number in range(6)]
        return [pictures(client, job) for job in jobs]


def start_dead_workers(stack: Stack) -> None:
    """What a supervisor does."""
    for worker in stack.workers:
        if not worker.is_running:
            worker.start("worker")


def both_serve(stack: Stack) -> None:
    """Start what is dead, and wait until two workers are ready."""
    start_dead_workers(stack)
    # A dead worker's heartbeat outlives it by seconds, so being counted is not enough.
    stack.until(lambda: all(answers(worker) for worker in stack.workers))
    stack.until(lambda: stack.num_serving() == 2)


def answers(worker: Worker) -> bool:
    """Whether the worker's metrics can be read."""
    try:
        worker.metric(BUSY)
    except httpx.TransportError:
        return False
    return True


def test_a_killed_worker_s_jobs_are_done_by_the_other(
    stack: Stack, client: Client, undisturbed: list[list[bytes]]
) -> None:
    both_serve(stack)
    jobs = [submit(client, number) for number in range(6)]
    stack.until(lambda: stack.workers[0].metric(BUSY) > 0)
    stack.workers[0].end(signal.SIGKILL)
    assert [pictures(client, job) for job in jobs] == undisturbed
    assert max(client.job(job.id).attempts for job in jobs) == 2


def test_a_frozen_worker_loses_its_jobs_and_can_not_overwrite(
    stack: Stack, client: Client, undisturbed: list[list[bytes]]
) -> None:
    both_serve(stack)
    frozen = stack.workers[0]
    lost = frozen.metric(LOST)
    jobs = [submit(client, number) for number in range(6)]
    stack.until(lambda: frozen.metric(BUSY) > 0)
    frozen.send(signal.SIGSTOP)
    try:
        assert [pictures(client, job) for job in jobs] == undisturbed
    finally:
        frozen.send(signal.SIGCONT)
    stack.until(lambda: frozen.metric(LOST) > lost and frozen.metric(BUSY) == 0)
    again = [[client.image(job.id, rank) for rank in range(2)] for job in jobs]
    assert again == undisturbed
    assert [client.job(job.id).status for job in jobs] == ["succeeded"] * 6


def dead_letters(stack: Stack) -> list[str]:
    """Lines of `mindalle dlq list`."""
    return stack.command("dlq", "list").splitlines()


def test_a_poison_prompt_takes_no_neighbour_with_it(
    stack: Stack, client: Client, undisturbed: list[list[bytes]]
) -> None:
    both_serve(stack)
    jobs = [submit(client, number) for number in range(3)]
    poison = submit(client, 9, "poison")
    jobs += [submit(client, number) for number in range(3, 6)]
    assert [pictures(client, job) for job in jobs] == undisturbed
    ended = client.wait(poison.id)
    assert (ended.status, ended.attempts) == ("failed", 3)
    assert ended.error is not None
    assert ended.error.code == "worker_crashed"
    assert "poison prompt" not in ended.error.message  # what a batch died of is the operator's
    (letter,) = dead_letters(stack)
    assert poison.id in letter
    assert "InjectedError" in letter
    stack.command("dlq", "drop", letter.split()[0])
    assert dead_letters(stack) == []


def test_a_prompt_that_kills_the_process_is_given_up(
    stack: Stack, client: Client, undisturbed: list[list[bytes]]
) -> None:
    both_serve(stack)
    jobs = [submit(client, 0), submit(client, 9, "deadly"), submit(client, 1)]

    def have_ended() -> bool:
        start_dead_workers(stack)
        return all(client.job(job.id).status in ENDS for job in jobs)

    stack.until(have_ended, seconds=150)
    assert pictures(client, jobs[0]) == undisturbed[0]
    assert pictures(client, jobs[2]) == undisturbed[1]
    deadly = client.job(jobs[1].id)
    assert (deadly.status, deadly.attempts) == ("failed", 3)
    (letter,) = dead_letters(stack)
    assert jobs[1].id in letter
    stack.command("dlq", "drop", letter.split()[0])
