"""How codes on grids learn, one codebook a grid: the VQGAN's and each level's of the HQ-VAE.

VQ-VAE's way (van den Oord et al. 2017, codebooks in the moving-average form of appendix A.1) with
three additions: nothing is quantised at first, k-means finds the first codes, and codes that
nothing chooses any more are restarted. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.stage1.hq_vae import Quantised
from models.train.loop.processes import joined_rows
from models.train.loop.run import Run
from models.train.recipes.codebook_averages import CodebookAverages, k_means
from models.train.recipes.codec import BATCH, Attempt, CodecPlan, perplexity

_DECAY = 0.98
_FEWEST, _AT_FIRST = 0.03, 0.3  # how often a code must be chosen, and a fresh one counts as chosen


@dataclass(frozen=True, slots=True)
class Grids:
    """What a model answers; the coarsest grid comes first.

    `books` are the codebooks [V, C]; `features` makes of images what `quantise` takes;
    `unquantised` are the vectors of each grid as if all were codes, `decode` makes raw pixels of
    such vectors.
    """

    books: tuple[Tensor, ...]
    features: Callable[[Tensor], Tensor]
    quantise: Callable[[Tensor], Sequence[Quantised]]
    unquantised: Callable[[Tensor], Sequence[Tensor]]
    decode: Callable[[Sequence[Tensor]], Tensor]


class GridCodes:
    """See `Codes`. `state` names the codebooks in the run's state: one module, or a list."""

    def __init__(self, grids: Grids, run: Run, plan: CodecPlan, name: str) -> None:
        self.grids, self.run, self.plan = grids, run, plan
        self.codebooks = [
            CodebookAverages(book, _DECAY, restarts=False, patience=1.0) for book in grids.books
        ]
        is_one = len(self.codebooks) == 1
        state = self.codebooks[0] if is_one else nn.ModuleList(self.codebooks)
        self.state: Mapping[str, nn.Module] = {name: state}
        for book in grids.books:
            book.requires_grad_(False)

    def reconstruct(self, step: int, images: Tensor) -> Attempt:
        """See Codes."""
        features = self.grids.features(images)
        if step < self.plan.unquantised:
            made = self.grids.decode(self.grids.unquantised(features))
            return Attempt(made, features.new_zeros(()))
        levels = self.grids.quantise(features)
        self._move_codes(step, levels)
        vectors = [q.wanted + (q.vectors - q.wanted).detach() for q in levels]
        commitment = features.new_zeros(())
        for level in levels:
            commitment = commitment + F.mse_loss(level.wanted, level.vectors)
        return Attempt(self.grids.decode(vectors), commitment, self._use(levels))

    @torch.no_grad()
    def start(self, images: Tensor, rng: torch.Generator) -> None:
        """K-means, grid after grid: a finer one's vectors are what the coarser ones leave."""
        parts = torch.split(images, BATCH)
        features = torch.cat([self.grids.features(part) for part in parts])
        for level, (codebook, book) in enumerate(self._pairs()):
            wanted = _flat(self.grids.quantise(features)[level].wanted)
            book.copy_(k_means(wanted, len(book), rng))
            codebook.start(book)

    @torch.no_grad()
    def _move_codes(self, step: int, levels: Sequence[Quantised]) -> None:
        for (codebook, book), level in zip(self._pairs(), levels, strict=True):
            vectors, rng = joined_rows(_flat(level.wanted)), self.run.torch_rng(step)
            codebook.update(vectors, joined_rows(level.codes.flatten()), rng)
            book.copy_(codebook.sums / codebook.counts.clamp(min=1e-5)[:, None])
            if step % self.plan.restart_every == 0:
                _restart(codebook, book, vectors, rng)

    def _pairs(self) -> list[tuple[CodebookAverages, Tensor]]:
        return list(zip(self.codebooks, self.grids.books, strict=True))

    def _use(self, levels: Sequence[Quantised]) -> dict[str, float]:
        names = [f"perplexity_{level}" for level in range(len(levels))]
        names = names if len(names) > 1 else ["perplexity"]
        found = zip(names, levels, self.grids.books, strict=True)
        return {name: perplexity(level.codes, len(book)) for name, level, book in found}


def _restart(
    codebook: CodebookAverages, book: Tensor, vectors: Tensor, rng: torch.Generator
) -> None:
    """Give codes that nothing chooses any more a random vector of the batch [N, C]."""
    dead = (codebook.counts < _FEWEST).nonzero().flatten()
    book[dead] = vectors[torch.randint(len(vectors), (len(dead),), generator=rng)]
    codebook.counts[dead] = _AT_FIRST
    codebook.sums[dead] = _AT_FIRST * book[dead]


def _flat(features: Tensor) -> Tensor:
    return features.permute(0, 2, 3, 1).flatten(0, 2)
