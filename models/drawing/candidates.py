"""All candidates of one prompt, drawn on a batch of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.drawing.forced import Forced
from models.drawing.generate import Batch
from models.drawing.sampling import RowParams
from models.errors import UnsoundWeightsError
from models.stage2.prior import Prefix


@dataclass(frozen=True, slots=True)
class Candidates:
    """Codes [n, T, D] int64, and `Batch.log_likelihoods` of each."""

    codes: Tensor
    log_likelihoods: list[float | None]


def draw_all(
    batch: Batch,
    prefix: Prefix,
    params: Sequence[RowParams],
    on_step: Callable[[int], None] | None = None,
    forced: Forced | None = None,
) -> Candidates:
    """Generate one prompt's candidates on an empty batch, in parts if they do not fit at once.

    In the order of `params`. `on_step` is called after each step with the number of codes drawn in
    it.

    Raises:
        BatchFullError, InvalidSamplingError: as `Batch.admit`.
        UnsoundWeightsError: a row's numbers were not finite; the batch is empty again.
    """
    done: dict[int, tuple[Tensor, float | None]] = {}
    where: dict[int, int] = {}
    waiting = list(enumerate(params))
    while len(done) < len(params):
        joining, waiting = waiting[: batch.num_free], waiting[batch.num_free :]
        rows = batch.admit(prefix, [row_params for _, row_params in joining], forced)
        where.update(zip(rows, (index for index, _ in joining), strict=True))
        moved = sum(map(batch.num_drawn, rows))
        moved += sum(batch.num_drawn(row) < batch.prior.num_steps for row in where)
        finished = batch.step()
        if not all(batch.are_sound(finished)):
            batch.evict(where)
            raise UnsoundWeightsError("the states of stage 2")
        for row, likelihood in zip(finished, batch.log_likelihoods(finished), strict=True):
            done[where.pop(row)] = batch.take([row]), likelihood
        if on_step:
            on_step(moved * batch.prior.depth)
    made = [done[index] for index in range(len(params))]
    return Candidates(torch.cat([codes for codes, _ in made]), [each for _, each in made])
