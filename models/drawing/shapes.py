"""Which shapes a decode step may run at without changing a single bit of any row.

Matrix libraries choose kernels by shape, and kernels differ in the last bit. A server that rounded
the batch up to the nearest power of two would so give one seed two pictures. Here the shapes are
tried on this device with these weights, and one that differs from the full shape is not used.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.stage2.prior import Prior, Uneven

_ROW_LADDER = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128)
_TILES = (1, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Shapes:
    """The row counts and reaches that a step may run at, ascending; the last ones always fit.

    Any step is rounded up to one of these, so that kernels see few shapes. The largest row count
    may be more than a batch's capacity: rows that only fill up a kernel's tile.
    """

    rows: tuple[int, ...]
    reaches: tuple[int, ...]

    def fit(self, num_rows: int, reach: int) -> tuple[int, int]:
        """The smallest allowed shape that holds so many rows and looks at so many steps."""
        return (
            next(size for size in self.rows if size >= num_rows),
            next(size for size in self.reaches if size >= reach),
        )


@torch.inference_mode()
def exact_shapes(prior: Prior, capacity: int) -> Shapes:
    """The shapes that give the same bits as the full one, the full one itself included.

    One random row, repeated over the whole batch, is decoded at each shape and compared bit by bit:
    its state, and the logits that `sample` makes of it. Where even the full shape's own rows differ
    (a library may treat the rows beyond its last whole tile differently), the full shape is rounded
    up to whole tiles.
    """
    if prior.num_steps == 1:  # it is drawn from the prompt, and no step is ever decoded
        return Shapes((capacity,), prior.reaches)
    probe = _padded_probe(prior, capacity)
    capacity, (*shorter, longest) = probe.capacity, prior.reaches
    smaller = [size for size in _ROW_LADDER if size < capacity]
    rows = [size for size in smaller if probe.agrees(size, longest)]
    # Row counts and reaches fail apart from each other: the outermost row counts stand for all.
    outermost = {min(rows, default=capacity), capacity}
    reaches = [r for r in shorter if all(probe.agrees(size, r) for size in outermost)]
    return Shapes((*rows, capacity), (*reaches, longest))


@torch.inference_mode()
def keeps_bits(prior: Prior, shapes: Shapes, num_threads: int) -> bool:
    """Whether a CPU may step on `num_threads` at times, at these shapes of `exact_shapes`.

    Libraries divide a product among threads by its shape, and may divide a sum as well.
    """
    before = torch.get_num_threads()
    if num_threads == before or prior.num_steps == 1:
        return True
    probe = _Probe(prior, shapes.rows[-1])
    probe.remember(shapes.reaches)
    torch.set_num_threads(num_threads)
    try:
        return all(probe.agrees(size, shapes.reaches[-1]) for size in shapes.rows) and all(
            probe.agrees(shapes.rows[0], reach) for reach in shapes.reaches
        )
    finally:
        torch.set_num_threads(before)


def _padded_probe(prior: Prior, capacity: int) -> _Probe:
    for padded in dict.fromkeys(-(-capacity // tile) * tile for tile in _TILES):
        probe = _Probe(prior, padded)
        if probe.has_equal_rows:
            return probe
        del probe  # its state is as large as the batch's: never hold two
    return _Probe(prior, capacity)


class _Probe:
    """Equal rows with a random past."""

    def __init__(self, prior: Prior, capacity: int) -> None:
        self.prior = prior
        self.capacity = capacity
        generator = torch.Generator().manual_seed(0)
        self.state = prior.new_state(capacity)
        self.state.scramble(generator)
        codes = [int(torch.randint(size, (1,), generator=generator)) for size in prior.vocab_sizes]
        self.codes = torch.tensor(codes, device=prior.device)
        self._full: dict[int, Tensor] = {}  # by place

    @property
    def has_equal_rows(self) -> bool:
        """Whether the full shape computes the same bits in every row."""
        full = self._full_at(0)
        return bool((full == full[:1]).all())

    def agrees(self, num_rows: int, reach: int) -> bool:
        """Whether rows keep the bits of the full shape at this reach's first and last place.

        And at one between that does more than both, where the prior has such places.
        """
        return all(self._agrees_at(place, num_rows, reach) for place in self._places(reach))

    def remember(self, reaches: tuple[int, ...]) -> None:
        """Compute what `agrees` will compare with, so that a change of threads can't change it."""
        for reach in reaches:
            for place in self._places(reach):
                self._full_at(place)

    def _places(self, reach: int) -> set[int]:
        more = {self.prior.fullest} if isinstance(self.prior, Uneven) else set()
        return {0, max(reach - 1, 0)} | {place for place in more if place < reach}

    def _agrees_at(self, place: int, num_rows: int, reach: int) -> bool:
        full = self._full_at(place)
        same_in_every_row = bool((full == full[:1]).all())
        return same_in_every_row and bool((self.run(place, num_rows, reach) == full[:1]).all())

    def _full_at(self, place: int) -> Tensor:
        if place not in self._full:
            self._full[place] = self.run(place, self.capacity, self.prior.reaches[-1])
        return self._full[place]

    def run(self, place: int, num_rows: int, reach: int) -> Tensor:
        """One step of rows 0 .. num_rows-1: states and logits side by side, [num_rows, ...]."""
        places = torch.full((num_rows,), place, device=self.prior.device)
        codes = self.codes.expand(num_rows, -1)
        hidden = self.prior.decode(codes, places, self.state, reach)
        seen = [hidden.flatten(1)]

        def keep(logits: Tensor, _depth: int) -> Tensor:
            seen.append(logits.flatten(1))
            return places.new_zeros(logits.shape[:-1])

        self.prior.sample(hidden, self.state, keep)
        return torch.cat(seen, -1)
