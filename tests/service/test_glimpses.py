from __future__ import annotations

import pytest

from models.pipeline import Pipeline, load
from tests.service.engine_runs import alone, drawn, engine_on, glimpses, run
from tests.service.runs import make_run


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load("tiny-rq")


@pytest.mark.parametrize(
    ("partial_images", "expected"),
    [
        (0, []),
        (1, [("", 8)]),
        (2, [("", 8), ("depth=1", 16)]),
        (3, [("", 8), ("depth=1", 16), ("depth=2", 16)]),
    ],
)
def test_rows_come_first_and_then_the_depths(
    pipeline: Pipeline, partial_images: int, expected: list[tuple[str, int]]
) -> None:
    seen = make_run(num_candidates=2, partial_images=partial_images)
    engine = engine_on(pipeline)
    engine.add(seen)
    found = glimpses(reports := run(engine))
    assert [(glimpse.query, glimpse.num_drawn) for glimpse in found] == expected
    assert [glimpse.index for glimpse in found] == list(range(partial_images))
    assert [glimpse.part for glimpse in found] == [steps / 16 for _, steps in expected]
    codes = drawn(reports)[0].codes[:1]
    for depth, glimpse in enumerate(found[1:], 1):
        assert glimpse.codes.equal(codes[..., :depth])


def test_progress_counts_the_codes_of_all_depths(pipeline: Pipeline) -> None:
    some = make_run(num_candidates=3, codes_per_candidate=64)
    engine = engine_on(pipeline)
    engine.add(some)
    run(engine, until=lambda: engine.num_steps == 4)
    assert some.codes_done == 3 * 5 * 4  # the first codes come with the entry
    run(engine)
    assert some.codes_done == some.codes_total == 3 * len(alone(pipeline, some.job)[0])
