"""How the VQGAN codec learns.

The losses are VQ-VAE's (van den Oord et al. 2017): reconstruction, codebook (as its moving-average
form, appendix A.1) and commitment, with a warm-up before anything is quantised, k-means to begin
with, and unused codes restarted. Knows nothing of text.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.stage1.codec import Codec
from models.stage1.vqgan import VQGAN
from models.train.loop.learner import Learner
from models.train.loop.muon import optimisers
from models.train.loop.run import Run, Schedule


@dataclass(frozen=True, slots=True)
class VQGANPlan:
    """The recipe's numbers."""

    schedule: Schedule
    unquantised: int = 200
    restart_every: int = 20
    muon_lr: float | None = 0.012
    adam_lr: float = 1.2e-3
    commitment: float = 0.25
    average: float = 0.995


def plan_of(steps: int, is_fine_tuning: bool) -> VQGANPlan:
    """A checkpoint has its codes: it goes on quantised, by AdamW at a low rate."""
    if is_fine_tuning:
        return VQGANPlan(Schedule(steps), unquantised=-1, muon_lr=None, adam_lr=1e-5)
    return VQGANPlan(Schedule(steps))


class Codebook(nn.Module):
    """What training keeps about the codes: moving counts and sums, and how lately each was used."""

    counts: Tensor
    sums: Tensor

    def __init__(self, n_embed: int, embed_dim: int, decay: float = 0.98) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("counts", torch.ones(n_embed))
        self.register_buffer("sums", torch.zeros(n_embed, embed_dim))

    def start(self, book: Tensor, vectors: Tensor, rng: torch.Generator, rounds: int = 12) -> None:
        """Set the codebook [V, C] to k-means centres of vectors [N, C]."""
        book.copy_(vectors[torch.randperm(len(vectors), generator=rng)[: len(book)]])
        for _ in range(rounds):
            codes = torch.cdist(vectors, book).argmin(1)
            counts = torch.bincount(codes, minlength=len(book)).clamp(min=1)
            sums = torch.zeros_like(book).index_add_(0, codes, vectors)
            book.copy_(torch.where((sums != 0).any(1, keepdim=True), sums / counts[:, None], book))
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


def perplexity(codes: Tensor, size: int) -> float:
    """How many codes are in even use: exp of the entropy of their frequencies."""
    share = torch.bincount(codes.flatten(), minlength=size).float() / codes.numel()
    return float(torch.exp(-(share * torch.log(share + 1e-10)).sum()))


def reconstruction_loss(made: Tensor, images: Tensor) -> Tensor:
    """L1 and L2 on pixels, on their differences (edges) and on 4×4 means (colour)."""
    edges = [F.l1_loss(made.diff(dim=dim), images.diff(dim=dim)) for dim in (2, 3)]
    coarse_made, coarse = F.avg_pool2d(made, 4), F.avg_pool2d(images, 4)
    low = F.l1_loss(coarse_made, coarse) + F.mse_loss(coarse_made, coarse)
    return F.l1_loss(made, images) + F.mse_loss(made, images) + 0.4 * (edges[0] + edges[1]) + low


def psnr(made: Tensor, images: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [-1, 1], mean over the pictures."""
    error = ((made.clamp(-1, 1) - images) / 2).square().mean((1, 2, 3))
    return float((-10 * torch.log10(error.clamp(min=1e-10))).mean())


class VQGANTrainer:
    """The update of a run, with the codebook beside the gradients."""

    def __init__(self, model: VQGAN, run: Run, plan: VQGANPlan) -> None:
        self.model = model
        self.run = run
        self.plan = plan
        model.quantize.embedding.weight.requires_grad_(False)
        self.codebook = Codebook(model.config.n_embed, model.config.embed_dim)
        self.codebook.sums.copy_(model.quantize.embedding.weight.detach())
        self.learner = Learner(
            model,
            optimisers(model, plan.muon_lr, plan.adam_lr),
            plan.schedule,
            plan.average,
            beside={"codebook": self.codebook},
        )

    def step(self, step: int, images: Tensor) -> dict[str, float]:
        """One update on images [B, 3, H, W] in [-1, 1]."""
        features = self.model.features(images)
        if step < self.plan.unquantised:
            made, commitment, codes = (
                self.model.decode_features(features),
                features.new_zeros(()),
                None,
            )
        else:
            codes, quantised = self._quantise(step, features)
            commitment = F.mse_loss(features, quantised)
            made = self.model.decode_features(features + (quantised - features).detach())
        reconstruction = reconstruction_loss(made, images)
        loss = reconstruction + self.plan.commitment * commitment
        self.learner.backward(loss)
        self.learner.advance(step)
        values = {"loss": float(reconstruction.detach()), "commitment": float(commitment.detach())}
        if codes is not None:
            values["perplexity"] = perplexity(codes, self.model.config.n_embed)
        return values

    @torch.no_grad()
    def _quantise(self, step: int, features: Tensor) -> tuple[Tensor, Tensor]:
        book = self.model.quantize.embedding.weight
        vectors = features.permute(0, 2, 3, 1).flatten(0, 2)
        if step == self.plan.unquantised:
            self.codebook.start(book, vectors, self.run.torch_rng(step))
        codes: Tensor = self.model.quantize(features)
        quantised = self.model.quantize.lookup(codes)
        self.codebook.update(book, vectors, codes.flatten())
        if step % self.plan.restart_every == 0:
            self.codebook.restart(book, vectors, self.run.torch_rng(step))
        return codes, quantised


@torch.no_grad()
def evaluate(model: Codec, images: Tensor) -> tuple[dict[str, float], Tensor]:
    """PSNR and code use on images in [-1, 1]; and the reconstructions."""
    codes = model.encode(images * 0.5 + 0.5)
    made = model.pixels(codes) * 2 - 1
    values = {
        "val_psnr": psnr(made, images),
        "val_codes": float(torch.unique(codes).numel()),
        "val_perplexity": perplexity(codes, int(codes.max()) + 1),
    }
    return values, made
