"""Random schedules of admissions, steps, evictions and previews on real, small models.

Whatever happens around a row, it must draw what it draws alone in a batch of the same capacity.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.drawing.generate import Batch
from models.drawing.sampling import RowParams
from models.drawing.streams import MAX_SEED
from models.pipeline import LoadOptions, Pipeline, load
from models.stage2.prior import Prefix
from tests.models.conftest import PROMPTS

CAPACITIES = (2, 3, 5, 8)
NUM_PROMPTS = 2

# One op of a schedule: what to do and two numbers that say on what.
Op = tuple[str, int, int]
_KINDS = ("admit", "admit", "step", "step", "run", "evict", "peek")
_OPS = st.lists(
    st.tuples(st.sampled_from(_KINDS), st.integers(0, 1000), st.integers(0, 1000)),
    min_size=1,
    max_size=10,
)

# Where there are three depths, one value for each of them; tuples of another length are left out.
_PER_DEPTH = {
    "temperature": (0.5, 1.0, 3.0),
    "top_k": (3, None, 2),
    "top_p": (None, 0.7, 1.0),
}
_FILTERS: list[dict[str, Any]] = [  # Any: values of different fields
    {},
    {"top_k": 1},
    {"top_k": 7, "temperature": 0.6},
    {"top_k": 64, "top_p": 1.0},
    {"top_p": 0.9, "temperature": 1.7},
    {"top_k": 20, "top_p": 0.5},
    {"top_p": 0.0},
    {"temperature": 1e-6},
]
_STREAMS = [(0, 0), (0, 1), (12, 0), (MAX_SEED, 2**32 - 1)]


def params_for(vocab_sizes: tuple[int, ...]) -> list[RowParams]:
    """Every stream with every filter that has a meaning for such codes."""
    filters = [*_FILTERS, _PER_DEPTH] if len(vocab_sizes) == 3 else _FILTERS
    rows = [RowParams(s, c, **chosen) for (s, c), chosen in product(_STREAMS, filters)]
    most = max(vocab_sizes)
    return [replace(r, top_k=min(r.top_k, most)) if isinstance(r.top_k, int) else r for r in rows]


@dataclass(slots=True)
class Alone:
    """What each row draws when nothing else is in its batch; asked once, then remembered."""

    pipeline: Pipeline
    prefixes: list[Prefix]
    params: list[RowParams]
    batches: dict[int, Batch]
    _codes: dict[tuple[int, int, int], Tensor] = field(default_factory=dict)
    _bytes: dict[tuple[int, int, int], bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, pipeline: Pipeline) -> Alone:
        chosen = PROMPTS[pipeline.preset.prompt_kind]
        prefixes = [pipeline.prefix(pipeline.encode(prompt)) for prompt in chosen]
        params = params_for(pipeline.preset.vocab_sizes)
        return cls(pipeline, prefixes, params, {c: pipeline.batch(c) for c in CAPACITIES})

    def codes(self, capacity: int, prompt: int, params: int) -> Tensor:
        """[T, D]."""
        key = (capacity, prompt, params)
        if key not in self._codes:
            batch = self.batches[capacity]
            rows = batch.admit(self.prefixes[prompt], [self.params[params]])
            while not batch.step():
                pass
            self._codes[key] = batch.take(rows)[0]
            assert batch.num_busy == 0
        return self._codes[key]

    def pixel_bytes(self, capacity: int, prompt: int, params: int) -> bytes:
        key = (capacity, prompt, params)
        if key not in self._bytes:
            self._bytes[key] = _bytes(self.pipeline.pixels(self.codes(*key)[None]))
        return self._bytes[key]


def _bytes(pixels: Tensor) -> bytes:
    return (pixels * 255).to(torch.uint8).numpy().tobytes()


@dataclass(slots=True)
class Run:
    """One schedule under way, with a book of what must be true."""

    alone: Alone
    capacity: int
    batch: Batch
    in_flight: dict[int, tuple[int, int]] = field(default_factory=dict)  # row → prompt, params
    waiting: list[tuple[int, list[int]]] = field(default_factory=list)  # prompt, its candidates
    num_admitted: int = 0
    num_evicted: int = 0
    taken: list[tuple[int, int, Tensor]] = field(default_factory=list)

    def do(self, op: Op) -> None:
        kind, first, second = op
        if kind == "admit" and not self.waiting:
            count, num_params = second % 4 + 1, len(self.alone.params)
            chosen = [(first + 7 * i) % num_params for i in range(count)]
            self.waiting.append((first % NUM_PROMPTS, chosen))
            self.admit()
        elif kind == "evict" and self.in_flight:
            rows = sorted(self.in_flight)[first % len(self.in_flight) :][: second % 3 + 1]
            self.batch.evict(rows)
            self.num_evicted += len(rows)
            for row in rows:
                del self.in_flight[row]
        elif kind == "peek" and self.in_flight:
            self.peek(sorted(self.in_flight)[: first % 3 + 1])
        else:
            for _ in range(1 if kind == "step" else first % 6 + 1):
                self.step()

    def admit(self) -> None:
        """Let in what fits: a prompt's candidates in parts, prompts in their order."""
        while self.waiting and self.batch.num_free:
            prompt, chosen = self.waiting.pop(0)
            fits, rest = chosen[: self.batch.num_free], chosen[self.batch.num_free :]
            params = [self.alone.params[i] for i in fits]
            rows = self.batch.admit(self.alone.prefixes[prompt], params)
            assert not set(rows) & set(self.in_flight)
            self.in_flight |= {row: (prompt, i) for row, i in zip(rows, fits, strict=True)}
            self.num_admitted += len(rows)
            if rest:
                self.waiting.insert(0, (prompt, rest))
        assert self.batch.num_busy == len(self.in_flight)
        assert self.batch.num_free == self.capacity - len(self.in_flight)

    def step(self) -> None:
        before = {row: self.batch.num_drawn(row) for row in self.in_flight}
        finished = self.batch.step()
        assert set(finished) <= set(self.in_flight)
        assert all(self.batch.num_drawn(row) == before[row] + 1 for row in self.in_flight)
        last = self.alone.pipeline.preset.num_steps - 1
        assert finished == [r for r in sorted(self.in_flight) if before[r] == last]
        assert all(self.batch.are_sound(finished))
        if finished:
            codes = self.batch.take(finished)
            for row, row_codes in zip(finished, codes, strict=True):
                self.taken.append((*self.in_flight.pop(row), row_codes))
        self.admit()

    def peek(self, rows: list[int]) -> None:
        codes, counts = self.batch.peek(rows)
        for row, row_codes, count in zip(rows, codes, counts, strict=True):
            assert count == self.batch.num_drawn(row)
            expected = self.alone.codes(self.capacity, *self.in_flight[row])
            assert torch.equal(row_codes[:count], expected[:count])
            assert not row_codes[count:].any()

    def finish(self) -> None:
        while self.in_flight or self.waiting:
            self.step()
        assert self.batch.step() == []
        assert self.batch.num_free == self.capacity
        assert len(self.taken) + self.num_evicted == self.num_admitted
        for prompt, params, codes in self.taken:
            assert torch.equal(codes, self.alone.codes(self.capacity, prompt, params))


def check(alone: Alone, capacity: int, ops: list[Op], with_pixels: bool) -> None:
    run = Run(alone, capacity, alone.pipeline.batch(capacity))
    for op in ops:
        run.do(op)
    run.finish()
    if with_pixels and run.taken:
        pixels = alone.pipeline.pixels(torch.stack([codes for _, _, codes in run.taken]))
        for (prompt, params, _), picture in zip(run.taken, pixels, strict=True):
            assert _bytes(picture[None]) == alone.pixel_bytes(capacity, prompt, params)


@pytest.fixture(scope="module")
def alone(every_tiny: Pipeline) -> Alone:
    return Alone.of(every_tiny)


@pytest.mark.timeout(300)
@settings(max_examples=340)
@given(
    capacity=st.sampled_from(CAPACITIES),
    ops=_OPS,
    with_pixels=st.integers(0, 9).map(lambda n: n == 9),
)
def test_a_row_draws_what_it_draws_alone(
    alone: Alone, capacity: int, ops: list[Op], with_pixels: bool
) -> None:
    """340 schedules for each of three models."""
    check(alone, capacity, ops, with_pixels)


@pytest.fixture(scope="module")
def alone_in_other_families(every_other: Pipeline) -> Alone:
    return Alone.of(every_other)


@pytest.mark.timeout(120)
@settings(max_examples=100)
@given(capacity=st.sampled_from(CAPACITIES), ops=_OPS)
def test_in_other_families(alone_in_other_families: Alone, capacity: int, ops: list[Op]) -> None:
    """A table for prompt and codes, many tokens before the codes; three codes a step; no cache."""
    check(alone_in_other_families, capacity, ops, with_pixels=True)


@pytest.fixture(scope="module", params=["tiny-dalle", "tiny-dalle-v2", "tiny-dalle-plain"])
def alone_behind_masks(request: pytest.FixtureRequest) -> Alone:
    return Alone.of(load(request.param))


@pytest.mark.timeout(120)
@settings(max_examples=15)
@given(capacity=st.sampled_from(CAPACITIES), ops=_OPS)
def test_behind_masks(alone_behind_masks: Alone, capacity: int, ops: list[Op]) -> None:
    """A cache that keeps only the latest cells."""
    check(alone_behind_masks, capacity, ops, with_pixels=True)


@pytest.fixture(
    scope="module",
    params=[
        LoadOptions(dtype=torch.float64, packed=False),
        LoadOptions(dtype=torch.float32, packed=False),
        LoadOptions(dtype=torch.bfloat16),
        LoadOptions(dtype=torch.bfloat16, quantization="int8"),
    ],
    ids=["float64", "float32-unpacked", "bfloat16-packed", "int8"],
)
def alone_in_other_types(request: pytest.FixtureRequest) -> Alone:
    return Alone.of(load("tiny", options=request.param))


@pytest.mark.timeout(120)
@settings(max_examples=20)
@given(capacity=st.sampled_from(CAPACITIES), ops=_OPS)
def test_in_other_types(alone_in_other_types: Alone, capacity: int, ops: list[Op]) -> None:
    check(alone_in_other_types, capacity, ops, with_pixels=True)
