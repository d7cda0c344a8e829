"""What a row may be asked for: values in range, one for all depths, per level or per depth."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from models.drawing.sampling import InvalidSamplingError, RowParams
from models.drawing.streams import MAX_SEED


@pytest.mark.parametrize("field", ["temperature", "top_k", "top_p"])
def test_values_per_depth_are_as_many_as_depths_and_each_is_checked(field: str) -> None:
    def row(*values: float) -> RowParams:
        return replace(RowParams(seed=0), **{field: values})  # type: ignore[arg-type]  # mypy can't see which field it is

    row(1, 1, 1).validate((8, 5, 3))
    for bad in (row(1, 1), row(1, 1, 1, 1), row(), row(1, 1, -1)):
        with pytest.raises(InvalidSamplingError, match=f"^{field}: must be"):
            bad.validate((8, 5, 3))


BAD = [
    ("seed", {"seed": -1}),
    ("seed", {"seed": 2**63}),
    ("candidate", {"candidate": -1}),
    ("candidate", {"candidate": 2**32}),
    ("temperature", {"temperature": 0.0}),
    ("temperature", {"temperature": -1.0}),
    ("temperature", {"temperature": math.nan}),
    ("temperature", {"temperature": math.inf}),
    ("temperature", {"temperature": 1e-40}),  # 0 in float32
    ("temperature", {"temperature": 1e39}),  # infinite in float32
    ("top_k", {"top_k": 0}),
    ("top_k", {"top_k": -3}),
    ("top_k", {"top_k": 65}),
    ("top_p", {"top_p": -0.1}),
    ("top_p", {"top_p": 1.1}),
    ("top_p", {"top_p": math.nan}),
]


@pytest.mark.parametrize(("field", "values"), BAD)
def test_what_has_no_meaning_is_refused_by_name(field: str, values: dict[str, float]) -> None:
    good = RowParams(seed=0)
    good.validate((64,))
    bad = replace(good, **values)  # type: ignore[arg-type]  # mypy can't see which field it is
    with pytest.raises(InvalidSamplingError, match=f"^{field}: must be") as caught:
        bad.validate((64,))
    assert caught.value.field == field


def test_the_edges_are_legal() -> None:
    edges = RowParams(seed=MAX_SEED, candidate=2**32 - 1, temperature=1e-6, top_k=64, top_p=1.0)
    edges.validate((64,))
    replace(edges, seed=0, top_k=1, top_p=0.0).validate((64,))


def test_what_is_given_per_level_is_given_to_each_of_its_codes() -> None:
    row = RowParams(0, temperature=(0.9, 0.5), top_k=(None, 3), top_p=0.7).spread((1, 4))
    assert row.temperature == (0.9, 0.5, 0.5, 0.5, 0.5)
    assert row.top_k == (None, 3, 3, 3, 3)
    assert row.top_p == 0.7
    row.validate((8,) * 5)


def test_a_list_of_another_length_is_not_spread() -> None:
    row = RowParams(0, top_k=(1, 2, 3)).spread((1, 4))
    with pytest.raises(InvalidSamplingError, match="one value or 5 of them, not 3"):
        row.validate((8,) * 5)
