"""One row through a prior's state, its codes chosen by someone: the loop's steps without a batch.

For checks that force codes or look at every draw's logits. Knows no recorded numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from models.stage2.prior import Prior, one_by_one

# By step, logits [1, V] and depth: the code [1] that stands there.
Choice = Callable[[int, Tensor, int], Tensor]


def through_the_state(prior: Prior, ids: Tensor, codes: Tensor) -> list[Tensor]:
    """Logits of one row, step by step as the loop does it, but with given codes [T, D].

    Returns T·D of them, [1, V_d] each.
    """
    seen = list[Tensor]()

    def choose(step: int, logits: Tensor, depth: int) -> Tensor:
        seen.append(logits)
        return codes[step, depth : depth + 1]

    walk(prior, ids, choose, len(codes))
    return seen


def best_around(prior: Prior, ids: Tensor, known: Tensor) -> Tensor:
    """One row's codes [T, D]: those that are known [T, D], and the best where there is a -1."""
    codes = known.clone()

    def choose(step: int, logits: Tensor, depth: int) -> Tensor:
        given = known[step, depth : depth + 1]
        codes[step, depth] = torch.where(given < 0, logits.argmax(-1), given)[0]
        return codes[step, depth : depth + 1]

    walk(prior, ids, choose, len(known))
    return codes


def walk(prior: Prior, ids: Tensor, choose: Choice, num_steps: int | None = None) -> None:
    """Let someone choose one row's codes after prefix ids [N], by default all of them."""
    prefix, state = prior.prefill(ids[None]), prior.new_state(1)
    state.put(prefix, torch.tensor([0]))
    hidden, last = prefix.hidden, (num_steps or prior.num_steps) - 1
    for step in range(last + 1):
        codes = prior.sample(hidden, state, one_by_one(partial(choose, step)))
        if step < last:
            hidden = prior.decode(codes, torch.tensor([step]), state, prior.reaches[-1])
