"""Which shapes a decode step may run at without changing a single bit of any row.

Matrix libraries choose kernels by shape, and kernels differ in the last bit. A server that rounded
the batch up to the nearest power of two would so give one seed two pictures. Here the shapes are
tried on this device with these weights, and one that differs from the full shape is not used.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.drawing.generate import Shapes, Stage2
from models.stage2.transformer import Step

_ROW_LADDER = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128)
_SPAN_STEP = 64
_TILES = (1, 4, 8, 16, 32)


def all_shapes(capacity: int, num_positions: int) -> Shapes:
    """Every shape worth trying for a batch of `capacity` rows, the full one last."""
    rows = tuple(size for size in _ROW_LADDER if size < capacity)
    spans = tuple(range(_SPAN_STEP, num_positions, _SPAN_STEP))
    return Shapes((*rows, capacity), (*spans, num_positions))


@torch.inference_mode()
def exact_shapes(stage2: Stage2, capacity: int) -> Shapes:
    """The shapes that give the same bits as the full one, the full one itself included.

    One random row, repeated over the whole batch with a random cache, is decoded at each shape and
    compared bit by bit: its state, and the logits that `sample` makes of it. Where even the full
    shape's own rows differ (a library may treat the rows beyond its last whole tile differently),
    the full shape is rounded up to whole tiles.
    """
    probe = _padded_probe(stage2, capacity)
    capacity, longest = probe.capacity, probe.num_positions
    tried = all_shapes(capacity, longest)
    rows = [size for size in tried.rows[:-1] if probe.agrees(size, longest)]
    # Row counts and spans fail apart from each other: the outermost row counts stand for all.
    outermost = {min(rows, default=capacity), capacity}
    spans = [
        span
        for span in (tried.spans[:-1] if _can_read_part(probe.cache.data) else ())
        if span > probe.prefix_len and all(probe.agrees(size, span) for size in outermost)
    ]
    return Shapes((*rows, capacity), (*spans, longest))


@torch.inference_mode()
def keeps_bits(stage2: Stage2, shapes: Shapes, num_threads: int) -> bool:
    """Whether a CPU may step on `num_threads` at times, at these shapes of `exact_shapes`.

    Libraries divide a product among threads by its shape, and may divide a sum as well.
    """
    before = torch.get_num_threads()
    if num_threads == before:
        return True
    probe = _Probe(stage2, shapes.rows[-1])
    probe.remember(shapes.spans)
    torch.set_num_threads(num_threads)
    try:
        return all(probe.agrees(size, shapes.spans[-1]) for size in shapes.rows) and all(
            probe.agrees(shapes.rows[0], span) for span in shapes.spans
        )
    finally:
        torch.set_num_threads(before)


def _can_read_part(cache: Tensor) -> bool:
    """Whether reading part of the positions costs less than reading all of them."""
    # The CPU's 16-bit products copy what isn't dense, which costs more than the rest of the cache.
    return cache.device.type != "cpu" or cache.dtype.itemsize > 2


def _padded_probe(stage2: Stage2, capacity: int) -> _Probe:
    for padded in dict.fromkeys(-(-capacity // tile) * tile for tile in _TILES):
        probe = _Probe(stage2, padded)
        if probe.has_equal_rows:
            return probe
        del probe  # its cache is as large as the batch's: never hold two
    return _Probe(stage2, capacity)


class _Probe:
    """A batch of equal rows with a random cache."""

    def __init__(self, stage2: Stage2, capacity: int) -> None:
        self.stage2 = stage2
        self.capacity = capacity
        generator = torch.Generator().manual_seed(0)
        self.cache = stage2.new_cache(capacity)
        data = self.cache.data
        row = torch.randn(data[:, :, :1].shape, generator=generator).to(data)
        data.copy_(row.expand_as(data))
        self.num_positions = data.shape[-2]
        self.prefix_len = self.num_positions - stage2.num_steps + 1
        self.code = int(torch.randint(stage2.vocab_size, (1,), generator=generator))
        self._full: dict[int, Tensor] = {}  # by place

    @property
    def has_equal_rows(self) -> bool:
        """Whether the full shape computes the same bits in every row."""
        full = self._full_at(0)
        return bool((full == full[:1]).all())

    def agrees(self, num_rows: int, span: int) -> bool:
        """Whether rows at this span's first and last place keep the bits of the full shape."""
        return all(self._agrees_at(place, num_rows, span) for place in self._places(span))

    def remember(self, spans: tuple[int, ...]) -> None:
        """Compute what `agrees` will compare with, so that a change of threads can't change it."""
        for span in spans:
            for place in self._places(span):
                self._full_at(place)

    def _places(self, span: int) -> set[int]:
        last = min(span - self.prefix_len, self.stage2.num_steps - 1) - 1
        return {0, max(last, 0)}

    def _agrees_at(self, place: int, num_rows: int, span: int) -> bool:
        full = self._full_at(place)
        same_in_every_row = bool((full == full[:1]).all())
        return same_in_every_row and bool((self.run(place, num_rows, span) == full[:1]).all())

    def _full_at(self, place: int) -> Tensor:
        if place not in self._full:
            self._full[place] = self.run(place, self.capacity, self.num_positions)
        return self._full[place]

    def run(self, place: int, num_rows: int, span: int) -> Tensor:
        """One step of rows 0 .. num_rows-1: states and logits side by side, [num_rows, E + V]."""
        device = self.stage2.device
        places = torch.full((num_rows,), place, device=device)
        positions = self.prefix_len + places
        visible = torch.arange(span, device=device) <= positions[:, None]
        mask = torch.zeros(visible.shape, dtype=self.cache.data.dtype, device=device)
        mask = mask.masked_fill(~visible, -torch.inf)[:, None, None]
        codes = torch.full((num_rows, self.stage2.depth), self.code, device=device)
        hidden = self.stage2.decode(codes, places, self.cache, Step(positions, mask, span))
        seen = [hidden]

        def keep(logits: Tensor, _depth: int) -> Tensor:
            seen.append(logits)
            return torch.zeros(num_rows, dtype=torch.int64, device=device)

        self.stage2.sample(hidden, keep)
        return torch.cat(seen, -1)
