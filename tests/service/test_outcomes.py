from __future__ import annotations

from typing import Any

import pytest

from service.api.outcomes import check_succeeded
from service.errors import (
    DeadlinePassed,
    DomainError,
    InvalidRequest,
    JobCancelled,
    JobFailed,
)
from service.jobs import Failed, JobStatus, JobView, Progress
from tests.service.makers import make_job


def _view(status: JobStatus, error: Failed | None = None) -> JobView:
    empty: dict[str, Any] = dict.fromkeys(
        ("position", "eta_s", "started_ms", "finished_ms", "expires_ms", "size")
    )
    return JobView(
        job=make_job(),
        status=status,
        progress=Progress(),
        attempts=1,
        created_ms=0,
        images=(),
        timings_s={},
        prompt_truncated=False,
        error=error,
        **empty,
    )


def test_a_job_with_images_raises_nothing() -> None:
    check_succeeded(_view(JobStatus.SUCCEEDED))


@pytest.mark.parametrize(
    ("view", "error", "status", "code"),
    [
        (_view(JobStatus.CANCELLED), JobCancelled, 409, "job_cancelled"),
        (_view(JobStatus.EXPIRED), DeadlinePassed, 504, "deadline_passed"),
        (_view(JobStatus.FAILED), JobFailed, 500, "job_failed"),
        (_view(JobStatus.FAILED, Failed("crashed", "m")), JobFailed, 500, "crashed"),
        (_view(JobStatus.FAILED, Failed("invalid_value", "m")), InvalidRequest, 400,
         "invalid_value"),
    ],
)  # fmt: skip
def test_every_other_end_is_an_error_of_its_own(
    view: JobView, error: type[DomainError], status: int, code: str
) -> None:
    with pytest.raises(error) as caught:
        check_succeeded(view)
    assert (caught.value.status, caught.value.code) == (status, code)
