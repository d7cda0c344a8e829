"""Codebooks that follow moving averages instead of gradients (VQ-VAE's appendix A.1, RQ-VAE's way).

Each code's vector is the mean of the vectors that chose it lately; a code that nothing chooses any
more starts anew at a vector of the batch. Knows no model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PATIENCE = 100.0  # for codes that are well chosen: what a rare one may wait for, see below
_SMOOTHING = 1e-5  # Laplace's, so that a code without vectors has a weight to divide by


def k_means(vectors: Tensor, number: int, rng: torch.Generator, rounds: int = 12) -> Tensor:
    """Centres [number, C] of vectors [N, C]; one that nothing is near to stays where it began.

    Where there are fewer vectors than centres several begin at one.
    """
    begun = torch.randperm(max(len(vectors), number), generator=rng)[:number]
    centres = vectors[begun % len(vectors)]
    for _ in range(rounds):
        codes = torch.cdist(vectors, centres).argmin(1)
        counts = torch.bincount(codes, minlength=number).clamp(min=1)
        sums = torch.zeros_like(centres).index_add_(0, codes, vectors)
        is_near = (sums != 0).any(1, keepdim=True)
        centres = torch.where(is_near, sums / counts[:, None], centres)
    return centres


class CodebookAverages(nn.Module):
    """What training keeps about one codebook: how often each code is chosen, and by what."""

    counts: Tensor
    sums: Tensor

    def __init__(
        self,
        book: Tensor,
        decay: float,
        *,
        restarts: bool,
        patience: float = 0.0,
        fewest: float = 1.0,
    ) -> None:
        """Begin with a codebook [V, C].

        Args:
            book: the codes' vectors.
            decay: of the averages, per update.
            restarts: whether unused codes start anew.
            patience: how often every code counts as chosen before the first update. At 0 a code
                that the first batches don't choose starts anew at once.
            fewest: how often a code must be chosen in the mean of updates, else it starts anew. The
                authors' 1 suits batches with more vectors than codes; with fewer all would restart.
        """
        super().__init__()
        self.decay, self.restarts, self.fewest = decay, restarts, fewest
        self.register_buffer("counts", torch.full((len(book),), patience, device=book.device))
        self.register_buffer("sums", book.detach().float() * max(patience, 1.0))

    def start(self, book: Tensor) -> None:
        """Begin again with a codebook [V, C], each code chosen once."""
        self.counts.fill_(1.0)
        self.sums.copy_(book)

    @torch.no_grad()
    def update(self, vectors: Tensor, codes: Tensor, rng: torch.Generator) -> None:
        """Take in that vectors [N, C] chose codes [N]."""
        chosen = torch.bincount(codes, minlength=len(self.counts)).to(self.counts)
        sums = torch.zeros_like(self.sums).index_add_(0, codes, vectors)
        self.counts.lerp_(chosen, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        if self.restarts:
            self._restart(vectors, rng)

    def _restart(self, vectors: Tensor, rng: torch.Generator) -> None:
        unused = (self.counts < self.fewest).nonzero().flatten()
        picked = torch.randperm(max(len(vectors), len(self.counts)), generator=rng)
        fresh = vectors[picked[: len(self.counts)] % len(vectors)]
        if len(vectors) < len(self.counts):  # copies would all be chosen by the same vectors
            noise = torch.rand(fresh.shape, generator=rng).to(fresh)
            fresh = fresh + noise * (0.01 * fresh.shape[1] ** -0.5)
        self.sums[unused] = fresh[unused]
        self.counts[unused] = 1.0

    def book(self) -> Tensor:
        """The codes' vectors as they should be now, [V, C]."""
        total = self.counts.sum()
        smoothed = (self.counts + _SMOOTHING) / (total + len(self.counts) * _SMOOTHING) * total
        return self.sums / smoothed[:, None]
