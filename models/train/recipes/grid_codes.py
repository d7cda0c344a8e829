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
from models.train.recipes.codebook_averages import k_means
from models.train.recipes.codec import BATCH, Attempt, CodecPlan, perplexity


class Codebook(nn.Module):
    """What training keeps about the codes: moving counts and sums of what chose them."""

    counts: Tensor
    sums: Tensor

    def __init__(self, book: Tensor, decay: float = 0.98) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("counts", torch.ones(len(book), device=book.device))
        self.register_buffer("sums", book.detach().clone())

    def start(self, book: Tensor, vectors: Tensor, rng: torch.Generator) -> None:
        """Set the codebook [V, C] to k-means centres of vectors [N, C]."""
        book.copy_(k_means(vectors, len(book), rng))
        self.counts.fill_(1.0)
        self.sums.copy_(book)

    def update(self, book: Tensor, vectors: Tensor, codes: Tensor) -> None:
        """Move each code towards the mean of the vectors [N, C] that chose it (codes [N])."""
        counts = torch.bincount(codes, minlength=len(book)).float()
        sums = torch.zeros_like(book).index_add_(0, codes, vectors)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        book.copy_(self.sums / self.counts.clamp(min=1e-5)[:, None])

    def restart(self, book: Tensor, vectors: Tensor, rng: torch.Generator) -> int:
        """Give codes that nothing chooses any more a random vector of the batch; how many."""
        dead = (self.counts < 0.03).nonzero().flatten()
        picks = vectors[torch.randint(len(vectors), (len(dead),), generator=rng)]
        book[dead] = picks
        self.counts[dead] = 0.3
        self.sums[dead] = 0.3 * picks
        return len(dead)


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
        self.codebooks = [Codebook(book) for book in grids.books]
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
            codebook.start(book, _flat(self.grids.quantise(features)[level].wanted), rng)

    @torch.no_grad()
    def _move_codes(self, step: int, levels: Sequence[Quantised]) -> None:
        for (codebook, book), level in zip(self._pairs(), levels, strict=True):
            vectors = joined_rows(_flat(level.wanted))
            codebook.update(book, vectors, joined_rows(level.codes.flatten()))
            if step % self.plan.restart_every == 0:
                codebook.restart(book, vectors, self.run.torch_rng(step))

    def _pairs(self) -> list[tuple[Codebook, Tensor]]:
        return list(zip(self.codebooks, self.grids.books, strict=True))

    def _use(self, levels: Sequence[Quantised]) -> dict[str, float]:
        names = [f"perplexity_{level}" for level in range(len(levels))]
        names = names if len(names) > 1 else ["perplexity"]
        found = zip(names, levels, self.grids.books, strict=True)
        return {name: perplexity(level.codes, len(book)) for name, level, book in found}


def _flat(features: Tensor) -> Tensor:
    return features.permute(0, 2, 3, 1).flatten(0, 2)
