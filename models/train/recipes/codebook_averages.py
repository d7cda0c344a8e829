"""Codebooks that follow moving averages instead of gradients (VQ-VAE's appendix A.1, RQ-VAE's way).

Each code's vector is the mean of the vectors that chose it lately; a code that nothing chooses any
more starts anew at a vector of the batch. Knows no model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PATIENCE = 100.0  # for codes that are well chosen: what a rare one may wait for, see below
_SMOOTHING = 1e-5  # Laplace's, so that a code without vectors has a weight to divide by


class CodebookAverages(nn.Module):
    """What training keeps about one codebook: how often each code is chosen, and by what."""

    counts: Tensor
    sums: Tensor

    def __init__(
        self, book: Tensor, decay: float, *, restarts: bool, patience: float = 0.0
    ) -> None:
        """Begin with a codebook [V, C].

        Args:
            book: the codes' vectors.
            decay: of the averages, per update.
            restarts: whether unused codes start anew.
            patience: how often every code counts as chosen before the first update. At 0 a code
                that the first batches don't choose starts anew at once, which suits fresh ones.
        """
        super().__init__()
        self.decay, self.restarts = decay, restarts
        self.register_buffer("counts", torch.full((len(book),), patience, device=book.device))
        self.register_buffer("sums", book.detach().float() * max(patience, 1.0))

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
        unused = (self.counts < 1).nonzero().flatten()
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
