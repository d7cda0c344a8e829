"""The generation loop, and there is only this one: `Batch` holds rows in flight.

admit → step → take, or evict. Rows join and leave between any two steps, each at its own position
and with its own parameters. Service, command line, tests, benchmark and training samples all run
it. Knows no prompt text, no pixels, no clock and nothing of what a prior remembers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from models.drawing.depth_filters import DepthFilters
from models.drawing.forced import FREE, Forced
from models.drawing.sampling import RowParams
from models.drawing.shapes import Shapes
from models.drawing.step_draw import StepDraw, are_finite
from models.drawing.streams import uniforms
from models.stage2.prior import Prefix, Prior

# Does a step's work on the device, or replays what it recorded under the same key.
Runner = Callable[[Hashable, Callable[[], None]], None]


class BatchFullError(RuntimeError):
    """More rows were to be admitted than are free."""


def run_now(_key: Hashable, work: Callable[[], None]) -> None:
    """The plain `Runner`."""
    work()


class Batch:
    """Up to `capacity` rows in flight on one device. Not thread-safe: one thread steps it.

    All tensors that steps read and write stay where they are, so that `run` may replay a recorded
    step: its key says all that the host has decided about it. For `closed_nucleus` see `Filters`;
    with `keeps_likelihoods` it can say how probable the prior finds what was drawn.
    """

    def __init__(
        self,
        prior: Prior,
        capacity: int,
        shapes: Shapes | None = None,
        run: Runner = run_now,
        *,
        closed_nucleus: bool = False,
        keeps_likelihoods: bool = False,
    ) -> None:
        self.prior, self.capacity = prior, capacity
        self.shapes = shapes or Shapes((capacity,), prior.reaches[-1:])
        self._run, self._closed_nucleus = run, closed_nucleus
        self._keeps_likelihoods = keeps_likelihoods
        num_rows, device = self.shapes.rows[-1], prior.device
        self._state = prior.new_state(num_rows)
        self._drawn = [0] * capacity  # steps drawn per row, 0 = free
        self._params: list[RowParams | None] = [None] * capacity
        self._reported: set[int] = set()

        # One step more than there are: rows that wait to be taken write there, unread.
        self._codes = torch.zeros(
            (num_rows, prior.num_steps + 1, prior.depth), dtype=torch.int64, device=device
        )
        self._forced = torch.full_like(self._codes, FREE)
        self._uniforms = torch.zeros(self._codes.shape, dtype=torch.float64, device=device)
        self._log_probs = torch.zeros(self._codes.shape, device=device)
        self._place = torch.zeros(num_rows, dtype=torch.int64, device=device)  # = drawn, on device
        self._is_sound = torch.ones(num_rows, dtype=torch.bool, device=device)
        # All rows' steps as one list, and where each row's begin in it: one index finds a step.
        steps = prior.num_steps + 1
        self._begins = torch.arange(0, num_rows * steps, steps, device=device)
        self._code_list, self._forced_list, self._uniform_list, self._log_prob_list = (
            each.view(-1, prior.depth)
            for each in (self._codes, self._forced, self._uniforms, self._log_probs)
        )
        self._filters = self._filters_of([RowParams(seed=0)] * num_rows)

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
    def admit(
        self, prefix: Prefix, params: Sequence[RowParams], forced: Forced | None = None
    ) -> list[int]:
        """Put candidates of one prompt into free rows and draw their first codes.

        One row for each of `params`, in their order. The prefix may be admitted again for more.
        Codes that are `forced` are taken instead of drawn; the prefix must be theirs then. Others
        are drawn by the same numbers as ever.

        Raises:
            BatchFullError, InvalidSamplingError: nothing was admitted.
        """
        for row_params in params:
            row_params.validate(self.prior.vocab_sizes)
        rows = [row for row, drawn in enumerate(self._drawn) if drawn == 0][: len(params)]
        if len(rows) < len(params):
            raise BatchFullError(f"{len(params)} rows asked for, {len(rows)} free")
        if rows:
            self._place_rows(rows, prefix, params, forced)
        return rows

    def _place_rows(
        self, rows: list[int], prefix: Prefix, params: Sequence[RowParams], forced: Forced | None
    ) -> None:
        device, depth = self.prior.device, self.prior.depth
        where = torch.tensor(rows).to(device)
        self._state.put(prefix, where)
        begun = self._force(where, forced)
        streams = uniforms(
            torch.tensor([p.seed for p in params]).to(device),
            torch.tensor([p.candidate for p in params]).to(device),
            self.prior.num_steps * depth,
        )
        self._uniforms[where, :-1] = streams.view(len(rows), -1, depth)
        # At a row count that changes no bit: the last row is drawn as often as that takes.
        more = self.shapes.fit(len(rows), self.shapes.reaches[-1])[0] - len(rows)
        at = F.pad(where, (0, more), value=rows[-1]), begun
        filters = self._filters_of([*params, *[params[-1]] * more])
        hidden = prefix.hidden.expand(len(rows) + more, *prefix.hidden.shape[1:])
        codes, step = self._sample(hidden, filters, self._uniforms[at], self._forced[at])
        self._codes[at], self._is_sound[at[0]] = codes, step.is_sound
        if step.log_probs is not None:
            self._log_probs[where] = 0
            self._log_probs[at] = step.log_probs
        self._place[where] = begun + 1
        for row, row_params in zip(rows, params, strict=True):
            self._drawn[row], self._params[row] = begun + 1, row_params
        self._renew_filters()

    def _force(self, where: Tensor, forced: Forced | None) -> int:
        """Note what is known of some rows [r]; returns how many steps their prefix holds."""
        self._forced[where] = FREE
        if forced is None:
            return 0
        self._forced[where, :-1] = forced.codes
        self._codes[where, : forced.num_prefilled] = forced.codes[: forced.num_prefilled]
        return forced.num_prefilled

    @torch.inference_mode()
    def step(self) -> list[int]:
        """Draw the next codes of every row in flight.

        Returns rows that have all their codes and were not reported before; they keep their place
        until `take` or `evict`.
        """
        moving = [row for row, drawn in enumerate(self._drawn) if 0 < drawn < self.prior.num_steps]
        if moving:
            self._step(moving)
            for row in moving:
                self._drawn[row] += 1
        ended = {row for row, drawn in enumerate(self._drawn) if drawn == self.prior.num_steps}
        finished = sorted(ended - self._reported)
        self._reported.update(finished)
        return finished

    def _step(self, moving: list[int]) -> None:
        size, reach = self.shapes.fit(moving[-1] + 1, max(self._drawn[row] for row in moving))
        filters = self._filters.first(size)
        key = size, reach, *filters.works
        self._run(key, partial(self._draw_next, size, reach, filters))
        place = self._place[:size]
        place += (place > 0) & (place < self.prior.num_steps)

    def _draw_next(self, size: int, reach: int, filters: DepthFilters) -> None:
        """The next codes of rows 0 .. size-1; doing it twice changes nothing."""
        begins, place = self._begins[:size], self._place[:size]
        # Free and finished rows compute along, at a place that exists, and are not read.
        fed, at = (place - 1).clamp(0, max(self.prior.num_steps - 2, 0)), begins + place
        codes = self._code_list.index_select(0, begins + fed)
        hidden = self.prior.decode(codes, fed, self._state, reach)
        uniform, known = (
            self._uniform_list.index_select(0, at),
            self._forced_list.index_select(0, at),
        )
        drawn, step = self._sample(hidden, filters, uniform, known)
        self._code_list.index_copy_(0, at, drawn)
        self._is_sound[:size] &= step.is_sound
        if step.log_probs is not None:
            self._log_prob_list.index_copy_(0, at, step.log_probs)

    def _sample(
        self, hidden: Tensor, filters: DepthFilters, uniform: Tensor, known: Tensor
    ) -> tuple[Tensor, StepDraw]:
        """The next codes [b, D], and what there was to see; for `uniform` and `known` see there."""
        is_sound, log_probs = are_finite(hidden.flatten(1)), None
        if self._keeps_likelihoods:
            log_probs = torch.zeros(uniform.shape, device=uniform.device)
        step = StepDraw(filters, uniform, known, is_sound, log_probs)
        return self.prior.sample(hidden, self._state, step), step

    @torch.inference_mode()
    def take(self, rows: Sequence[int]) -> Tensor:
        """Codes of finished rows, [n, T, D] int64; frees the rows.

        Raises:
            ValueError: a row is not finished.
        """
        unfinished = [row for row in rows if self._drawn[row] != self.prior.num_steps]
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
    def log_likelihoods(self, rows: Sequence[int]) -> list[float | None]:
        """Of each row's drawn codes by the prior itself, nats per code of the picture.

        Its sum's order can change no bit: equal rows get equal numbers. None where none is kept.
        """
        if not self._keeps_likelihoods:
            return [None] * len(rows)
        log_probs = self._log_probs[list(rows), :-1].flatten(1)
        return [math.fsum(row) / len(row) for row in log_probs.tolist()]

    @torch.inference_mode()
    def evict(self, rows: Iterable[int]) -> None:
        """Free rows, finished or not."""
        freed = list(rows)
        self._place[freed] = 0
        for row in freed:
            self._drawn[row], self._params[row] = 0, None
            self._reported.discard(row)
        self._renew_filters()

    def _renew_filters(self) -> None:
        idle = RowParams(seed=0)
        params = [row_params or idle for row_params in self._params]
        params += [idle] * (len(self._place) - self.capacity)
        self._filters = self._filters.overwritten_by(self._filters_of(params))

    def _filters_of(self, params: Sequence[RowParams]) -> DepthFilters:
        sizes, device = self.prior.vocab_sizes, self.prior.device
        return DepthFilters.of(params, sizes, device, closed_nucleus=self._closed_nucleus)
