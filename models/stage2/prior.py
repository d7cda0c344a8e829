"""What the house asks of a stage 2, whatever is inside: `Prior`, its `State` and its `Prefix`.

The loop, the shapes and the graphs know these three and no model. Whatever a prior remembers of
rows in flight (a key-value cache, convolution rows, nothing) is its own: nobody reads a shape, a
position or a mask of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

# Turns logits [b, V] at a depth into codes [b]; V is that depth's vocabulary. Or logits [b, n, V]
# at n depths of one vocabulary, from that one on, into codes [b, n], which is less work.
Draw = Callable[[Tensor, int], Tensor]


def one_by_one(draw: Draw) -> Draw:
    """A `Draw` of several depths by one that knows a single depth."""

    def drawn(logits: Tensor, depth: int) -> Tensor:
        if logits.dim() == 2:
            return draw(logits, depth)
        each = [draw(part, depth + index) for index, part in enumerate(logits.unbind(1))]
        return torch.stack(each, 1)

    return drawn


class Prefix(Protocol):
    """A prefilled prompt: what all its candidates share. The rest of it is the prior's own."""

    @property
    def hidden(self) -> Tensor:
        """[1, ...], what `sample` draws the first step's codes from."""


class State(Protocol):
    """What a prior remembers of rows 0 .. n-1; allocated once, its tensors never move."""

    def put(self, prefix: Any, rows: Tensor) -> None:  # Any: a prior gets what it made itself
        """Begin some rows [r] int64 with one prompt; nothing of who was there before may be left.

        Not even NaN behind a mask: what is multiplied by 0 would come through.
        """

    def scramble(self, generator: torch.Generator) -> None:
        """Fill it with random numbers, the same in every row, for trying shapes."""


@runtime_checkable
class Prior(Protocol):
    """Draws pictures as codes: `num_steps` steps of `depth` codes, one step after another.

    Each row must compute the same bits whatever the rows beside it hold. Everything is written by
    place, so that doing a step twice changes nothing: rows that are free or finished compute along,
    and a captured step is warmed up before it counts.
    """

    @property
    def num_steps(self) -> int: ...
    @property
    def depth(self) -> int: ...
    @property
    def vocab_sizes(self) -> tuple[int, ...]: ...  # codes to draw from, one number per depth
    @property
    def reaches(self) -> tuple[int, ...]: ...  # of how many first steps a `decode` knows, see there
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...

    def prefill(self, ids: Tensor) -> Prefix:
        """Run one prompt's ids [1, N] once."""

    def new_state(self, num_rows: int) -> State:
        """Memory for so many rows, all of it finite."""

    def decode(self, codes: Tensor, places: Tensor, state: Any, reach: int) -> Tensor:
        """Feed each row the codes of its latest step.

        Args:
            codes: [b, D], drawn last.
            places: [b] int64, which step they are of, each below `reach`.
            state: from `new_state` (Any: see `State.put`); rows 0 .. b-1 are read and written.
            reach: one of `reaches`: looks at no step from there on. They ascend and end with all
                steps that are ever fed, `num_steps` - 1; where less saves nothing, it is alone.

        Returns:
            [b, ...], what `sample` draws the next step's codes from.
        """

    def sample(self, hidden: Tensor, state: Any, draw: Draw) -> Tensor:
        """The next codes [b, D] of rows that `decode` or a prefix gave `hidden` [b, ...] for.

        Calls `draw` once for each depth, in their order, or once for several that follow each other
        and don't depend on each other; a depth may look at the codes before it.
        Of `state` it may use scratch memory, nothing that `decode` reads.
        """


@runtime_checkable
class Continuing(Prior, Protocol):
    """A prior through which the codes of first steps can go at once, with the prompt.

    Others are given such codes step by step, which takes longer and gives the same kind of row.
    """

    def prefill_with(self, ids: Tensor, codes: Tensor) -> Prefix:
        """Run one prompt's ids [1, N] and codes [1, t, D] of the first t steps, t < `num_steps`.

        A row that begins with it has these steps behind it: `hidden` is what step t is drawn from.
        """


@runtime_checkable
class Uneven(Prior, Protocol):
    """A prior of which some steps do more than its first and its last one do."""

    @property
    def fullest(self) -> int:
        """A place whose `decode` does whatever any does."""
