from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import TypeVar, get_args

from hypothesis import given
from hypothesis import strategies as st

from service.jobs import (
    MAX_SEED,
    STAGE_NAMES,
    TERMINAL,
    Job,
    JobStatus,
    Phase,
    Priority,
    Recipe,
    new_job_id,
    new_seed,
)
from tests.service.makers import make_job

_N = TypeVar("_N", int, float)


def _per_depth(numbers: st.SearchStrategy[_N]) -> st.SearchStrategy[tuple[_N, ...]]:
    return st.lists(numbers, min_size=1, max_size=4).map(tuple)


PROMPTS = st.one_of(st.none(), st.integers(0, 999), st.text(), st.just("\ud800"))
RECIPES = st.builds(
    Recipe,
    model=st.text(min_size=1),
    prompt=PROMPTS,
    seed=st.integers(0, MAX_SEED - 1),
    n=st.integers(1, 10),
    num_candidates=st.integers(1, 96),
    top_k=st.none() | st.integers(1, 16384) | _per_depth(st.integers(1, 16384)),
    top_p=st.none() | st.floats(0.01, 1) | _per_depth(st.floats(0.01, 1)),
    temperature=st.floats(0.01, 10) | _per_depth(st.floats(0.01, 10)),
    enhance=st.none() | st.booleans(),
)
JOBS = st.builds(
    Job,
    id=st.just("job_1"),
    recipe=RECIPES,
    priority=st.sampled_from(Priority),
    embed_prompt=st.booleans(),
    min_score=st.none() | st.floats(-1, 1),
    request_id=st.none() | st.text(),
)


@given(JOBS)
def test_a_job_survives_json(job: Job) -> None:
    text = job.to_json()
    assert Job.from_json(text) == job
    assert Job.from_json(text.encode()) == job
    assert isinstance(Job.from_json(text).priority, Priority)
    names = {field.name for field in (*fields(Job), *fields(Recipe))}
    left_out = {"recipe", "codes_per_candidate", "source"}
    left_out |= {"min_score"} if job.min_score is None else set()
    left_out |= {"webhook"} if job.webhook is None else set()
    left_out |= {"enhance"} if job.recipe.enhance is None else set()
    assert set(json.loads(text)) == names - left_out | {"num_steps"}


def test_a_job_of_another_release_can_be_read() -> None:
    job = make_job(prompt=None)
    values = json.loads(job.to_json())
    assert Job.from_json(json.dumps(values | {"wings": 2, "recipe": "soup"})) == job
    for name in values.keys() - {"id", "model"}:
        fewer = {other: value for other, value in values.items() if other != name}
        assert Job.from_json(json.dumps(fewer)).id == job.id


def test_every_phase_has_a_name_of_its_own() -> None:
    assert set(STAGE_NAMES) == set(get_args(Phase))
    assert len(set(STAGE_NAMES.values())) == len(STAGE_NAMES)


def test_ids_are_many_and_sort_by_age() -> None:
    ids = [new_job_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(re.fullmatch(r"job_[0-9a-hjkmnp-tv-z]{26}", job_id) for job_id in ids)
    assert [job_id[:14] for job_id in ids] == sorted(job_id[:14] for job_id in ids)


def test_seeds_fit_a_double() -> None:
    seeds = {new_seed() for _ in range(100)}
    assert len(seeds) == 100
    assert all(seed == int(float(seed)) for seed in seeds)


def test_the_states_that_end_a_job() -> None:
    assert set(JobStatus) - TERMINAL == {JobStatus.QUEUED, JobStatus.RUNNING}
