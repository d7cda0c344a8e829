"""The generation loop, and there is only this one: `Batch` holds rows in flight.

admit → step → take, or evict. Rows join and leave between any two steps, each at its own position
and with its own parameters. Service, command line, tests, benchmark and training samples all run
it. Knows no prompt text, no pixels and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from models.drawing.sampling import Filters, RowParams, draw
from models.drawing.streams import uniforms
from models.stage2.kv_cache import KVCache
from models.stage2.transformer import Prefix, Step


class Stage2(Protocol):
    """What the loop needs of a stage-2 model. minDALL-E draws 1 code per step, RQ `depth` codes."""

    depth: int
    num_steps: int

    @property
    def vocab_size(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def new_cache(self, num_rows: int) -> KVCache: ...

    def decode(self, codes: Tensor, places: Tensor, cache: KVCache, step: Step) -> Tensor: ...

    def sample(self, hidden: Tensor, draw: Callable[[Tensor, int], Tensor]) -> Tensor: ...


class BatchFullError(RuntimeError):
    """More rows were to be admitted than are free."""


class UnsoundRowError(RuntimeError):
    """The model's numbers ran over or were never finite, so its codes mean nothing."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """The row counts and cache spans that a step may run at, ascending; the last ones always fit.

    Any step is rounded up to one of these, so that kernels see few shapes. Which of them give the
    same bits as the largest is found by `shapes`. The largest row count may be more than a batch's
    capacity: rows that only fill up a kernel's tile.
    """

    rows: tuple[int, ...]
    spans: tuple[int, ...]

    def fit(self, num_rows: int, span: int) -> tuple[int, int]:
        """The smallest allowed shape that holds so many rows and positions."""
        return (
            next(size for size in self.rows if size >= num_rows),
            next(size for size in self.spans if size >= span),
        )


class Batch:
    """Up to `capacity` rows in flight on one device. Not thread-safe: one thread steps it."""

    def __init__(self, stage2: Stage2, capacity: int, shapes: Shapes | None = None) -> None:
        self.stage2 = stage2
        self.capacity = capacity
        num_rows = shapes.rows[-1] if shapes else capacity
        self._cache = stage2.new_cache(num_rows)
        positions = self._cache.data.shape[-2]
        self.shapes = shapes or Shapes((capacity,), (positions,))
        self._prefix_len = positions - stage2.num_steps + 1
        self._drawn = [0] * capacity  # codes drawn per row, 0 = free
        self._params: list[RowParams | None] = [None] * capacity
        self._reported: set[int] = set()

        device = stage2.device
        # One column more than there are steps: rows that wait to be taken write there, unread.
        self._codes = torch.zeros(
            (num_rows, stage2.num_steps + 1, stage2.depth), dtype=torch.int64, device=device
        )
        self._uniforms = torch.zeros(self._codes.shape, dtype=torch.float64, device=device)
        self._place = torch.zeros(num_rows, dtype=torch.int64, device=device)  # = drawn, on device
        self._is_sound = torch.ones(num_rows, dtype=torch.bool, device=device)
        self._rows = torch.arange(num_rows, device=device)
        self._filters = self._all_filters()
        visible = torch.ones((positions, positions), dtype=torch.bool, device=device).tril()
        self._masks = torch.zeros_like(visible, dtype=self._cache.data.dtype).masked_fill(
            ~visible, -torch.inf
        )

    @property
    def num_free(self) -> int:
        """Rows that `admit` can fill."""
        return self._drawn.count(0)

    @property
    def num_busy(self) -> int:
        """Rows in flight or waiting to be taken."""
        return self.capacity - self.num_free

    def num_drawn(self, row: int) -> int:
        """Steps that a row has behind it."""
        return self._drawn[row]

    @torch.inference_mode()
    def admit(self, prefix: Prefix, params: Sequence[RowParams]) -> list[int]:
        """Put candidates of one prompt into free rows and draw their first codes.

        Args:
            prefix: the prefilled prompt; may be admitted again for further candidates.
            params: one per candidate.

        Returns:
            Their rows, in the order of `params`.

        Raises:
            BatchFullError: nothing was admitted.
            InvalidSamplingError: likewise.
        """
        for row_params in params:
            row_params.validate((self.stage2.vocab_size,))
        rows = [row for row, drawn in enumerate(self._drawn) if drawn == 0][: len(params)]
        if len(rows) < len(params):
            raise BatchFullError(f"{len(params)} rows asked for, {len(rows)} free")
        if rows:
            self._place_rows(rows, prefix, params)
        return rows

    def _place_rows(self, rows: list[int], prefix: Prefix, params: Sequence[RowParams]) -> None:
        device = self.stage2.device
        where = torch.tensor(rows).to(device)
        self._cache.copy_prefix(prefix.keys_values, where)
        streams = uniforms(
            torch.tensor([p.seed for p in params]).to(device),
            torch.tensor([p.candidate for p in params]).to(device),
            self.stage2.num_steps * self.stage2.depth,
        )
        self._uniforms[where, :-1] = streams.view(len(rows), -1, self.stage2.depth)
        filters = Filters.of(params, self.stage2.vocab_size, device)
        hidden = prefix.hidden.expand(len(rows), -1)
        first = self._uniforms[where, 0]
        self._codes[where, 0], self._is_sound[where] = self._sample(hidden, filters, first)
        self._place[where] = 1
        for row, row_params in zip(rows, params, strict=True):
            self._drawn[row], self._params[row] = 1, row_params
        self._filters = self._all_filters()

    @torch.inference_mode()
    def step(self) -> list[int]:
        """Draw the next code of every row in flight.

        Returns:
            Rows that have all their codes and were not reported before; they keep their place
            until `take` or `evict`.
        """
        moving = [row for row, drawn in enumerate(self._drawn) if 0 < drawn < self.stage2.num_steps]
        if moving:
            self._step(moving)
            for row in moving:
                self._drawn[row] += 1
        finished = [
            row
            for row, drawn in enumerate(self._drawn)
            if drawn == self.stage2.num_steps and row not in self._reported
        ]
        self._reported.update(finished)
        return finished

    def _step(self, moving: list[int]) -> None:
        needed = self._prefix_len + max(self._drawn[row] for row in moving)
        size, span = self.shapes.fit(moving[-1] + 1, needed)
        rows, place = self._rows[:size], self._place[:size]
        # Free and finished rows compute along, at a place that exists, and are not read.
        fed = (place - 1).clamp(0, max(self.stage2.num_steps - 2, 0))
        positions = self._prefix_len + fed
        step = Step(positions, self._masks[positions, None, None, :span], span)
        hidden = self.stage2.decode(self._codes[rows, fed], fed, self._cache, step)
        uniform = self._uniforms[rows, place]
        self._codes[rows, place], is_sound = self._sample(hidden, self._filters_at(size), uniform)
        self._is_sound[:size] &= is_sound
        place += (place > 0) & (place < self.stage2.num_steps)

    def _sample(self, hidden: Tensor, filters: Filters, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """The next codes [b, D], and whether each row's states and logits were finite [b]."""
        is_sound = hidden.isfinite().all(-1)

        def draw_at(logits: Tensor, depth: int) -> Tensor:
            is_sound.logical_and_(logits.amax(-1).isfinite())  # the largest is NaN if any is
            return draw(logits, filters, uniform[:, depth])

        return self.stage2.sample(hidden, draw_at), is_sound

    @torch.inference_mode()
    def take(self, rows: Sequence[int]) -> Tensor:
        """Codes of finished rows, [n, T, D] int64; frees the rows.

        Raises:
            ValueError: a row is not finished.
        """
        unfinished = [row for row in rows if self._drawn[row] != self.stage2.num_steps]
        if unfinished:
            raise ValueError(f"rows {unfinished} are not finished")
        codes = self._codes[list(rows), :-1]
        self.evict(rows)
        return codes

    @torch.inference_mode()
    def peek(self, rows: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Codes so far, [n, T, D], zero where not drawn yet, and how many steps are drawn."""
        counts = [self._drawn[row] for row in rows]
        codes = self._codes[list(rows), :-1].clone()
        for index, count in enumerate(counts):
            codes[index, count:] = 0
        return codes, counts

    def are_sound(self, rows: Sequence[int]) -> list[bool]:
        """Whether each row's states were finite all along; a row that was not must not be shown."""
        flags: list[bool] = self._is_sound[list(rows)].tolist()
        return flags

    @torch.inference_mode()
    def evict(self, rows: Iterable[int]) -> None:
        """Free rows, finished or not."""
        freed = list(rows)
        self._place[freed] = 0
        for row in freed:
            self._drawn[row], self._params[row] = 0, None
            self._reported.discard(row)
        self._filters = self._all_filters()

    def _all_filters(self) -> Filters:
        idle = RowParams(seed=0)
        params = [row_params or idle for row_params in self._params]
        params += [idle] * (len(self._rows) - self.capacity)
        return Filters.of(params, self.stage2.vocab_size, self.stage2.device)

    def _filters_at(self, size: int) -> Filters:
        full = self._filters
        return replace(
            full,
            temperature=full.temperature[:size],
            top_k=full.top_k[:size],
            top_p=full.top_p[:size],
        )


def run_to_end(
    batch: Batch,
    prefix: Prefix,
    params: Sequence[RowParams],
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Generate all candidates of one prompt on an empty batch, in parts if they do not fit at once.

    Args:
        batch: empty.
        prefix: the prompt.
        params: one per candidate.
        on_step: called after each step with the number of steps that rows moved forward in it.

    Returns:
        [n, T, D] int64 codes in the order of `params`.

    Raises:
        BatchFullError, InvalidSamplingError: as `Batch.admit`.
        UnsoundRowError: a row's numbers were not finite; the batch is empty again.
    """
    done: dict[int, Tensor] = {}
    where: dict[int, int] = {}
    waiting = list(enumerate(params))
    while len(done) < len(params):
        joining, waiting = waiting[: batch.num_free], waiting[batch.num_free :]
        rows = batch.admit(prefix, [row_params for _, row_params in joining])
        where.update(zip(rows, (index for index, _ in joining), strict=True))
        moved = len(rows) + sum(batch.num_drawn(row) < batch.stage2.num_steps for row in where)
        finished = batch.step()
        if not all(batch.are_sound(finished)):
            batch.evict(where)
            raise UnsoundRowError("the model's states are not finite; try float32")
        for row in finished:
            done[where.pop(row)] = batch.take([row])
        if on_step:
            on_step(moved)
    return torch.cat([done[index] for index in range(len(params))])
