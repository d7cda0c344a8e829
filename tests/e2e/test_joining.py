"""A prompt that comes while others run gets its rows at once, and leaves without waiting."""

from __future__ import annotations

import pytest

from service.client import Client
from tests.e2e.stack import Stack

# The time limit is for machines that are busy with other work: a worker starts in the set-up.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

STEPS = 'mindalle_step_seconds_count{model="tiny"}'
BUSY = 'mindalle_rows_busy{model="tiny"}'
STEPS_PER_JOB = 15  # sixteen codes, the first one at the entry


def test_a_late_prompt_starts_within_two_steps(slow_stack: Stack) -> None:
    """With a free row: counted in steps, by how many more the late job needs in all."""
    (worker,) = slow_stack.workers
    slow_stack.until(lambda: worker.metric(BUSY) == 0)
    with Client(slow_stack.url) as client:
        early = client.submit("early", num_candidates=4)
        slow_stack.until(lambda: worker.metric(BUSY) == 4)
        sent_at = worker.metric(STEPS)
        late = client.submit("late", num_candidates=4)
        accepted_at = worker.metric(STEPS)
        for job in (early, late):
            assert client.wait(job.id).status == "succeeded"
    entered_at = worker.metric(STEPS) - STEPS_PER_JOB
    assert sent_at <= entered_at <= accepted_at + 2
