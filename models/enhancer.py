"""Finished rows → finer pictures: what draws with an upsampler, from streams of its own.

The finer codes of a row depend on its codes, its seed and its candidate alone, so they are the same
whatever is enhanced beside it. Knows no prompts and no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.enhancement import Enhancement
from models.configs.preset import Preset
from models.drawing.sampling import Filters, RowParams, draw, probabilities
from models.drawing.streams import FINER_CODES, uniforms
from models.enhance.upsampler import Upsampler
from models.errors import UnsoundWeightsError
from models.families import as_upsampler, build_upsampler
from models.stage1.codec import Codec


@dataclass(frozen=True, slots=True)
class Enhancer:
    """An upsampler over a codec's codes; always `chunk` rows at once, for the same bits each."""

    enhancement: Enhancement
    upsampler: Upsampler
    codec: Codec
    chunk: int = 1

    @classmethod
    def of(cls, preset: Preset, module: nn.Module, codec: Codec, chunk: int) -> Self:
        """With the upsampler of a preset that has an enhancement, in the form that serves best.

        ValueError for a preset that has none.
        """
        if preset.enhancement is None:
            raise ValueError(f"{preset.name} has no enhancement")
        upsampler = as_upsampler(module.eval().requires_grad_(False))
        upsampler.prepare()
        return cls(preset.enhancement, upsampler, codec, chunk)

    @torch.inference_mode()
    def draw(self, codes: Tensor, rows: Sequence[RowParams]) -> Tensor:
        """Coarse codes [n, T, D] and how they were drawn → finer codes [n, T, K].

        Of `rows` seed and candidate count; temperature and cuts are the enhancement's own. Pictures
        of one that `is_mean` are not made of these.
        """
        parts = self._chunks(codes, rows)
        drawn = [self._draw(padded, own)[:count] for padded, own, count in parts]
        return torch.cat(drawn) if drawn else codes.new_zeros(0, *self.upsampler.code_shape)

    @torch.inference_mode()
    def pixels(self, codes: Tensor, rows: Sequence[RowParams]) -> Tensor:
        """Coarse codes [n, T, D] and how they were drawn → finer pixels in 0..1 [n, 3, H, W].

        UnsoundWeightsError when they are not finite.
        """
        made = []
        for padded, own, count in self._chunks(codes, rows):
            coarse = self.codec.pixels(padded)
            made.append(self._finer(padded, own, coarse)[:count])
        width, height = self.enhancement.shape.size
        pixels = torch.cat(made) if made else torch.zeros(0, 3, height, width)
        if not pixels.isfinite().all():
            raise UnsoundWeightsError("the pixels of the enhancement")
        return pixels

    def _chunks(
        self, codes: Tensor, rows: Sequence[RowParams]
    ) -> list[tuple[Tensor, list[RowParams], int]]:
        """Codes and rows, each part filled up to a whole chunk, and how many of it count."""
        parts = []
        for start in range(0, len(codes), self.chunk):
            part, own = codes[start : start + self.chunk], rows[start : start + self.chunk]
            lacking = self.chunk - len(part)
            padded = F.pad(part, (0, 0, 0, 0, 0, lacking))
            parts.append((padded, [*own, *repeat(own[0], lacking)], len(part)))
        return parts

    def _finer(self, codes: Tensor, rows: Sequence[RowParams], coarse: Tensor) -> Tensor:
        if not self.enhancement.is_mean:
            return self.upsampler.pixels(self._draw(codes, rows), coarse)
        logits = self.upsampler.logits(codes)  # [n, T, K, V]
        flat = logits.flatten(0, 2)
        chances = probabilities(flat, self._filters(len(flat), codes.device))
        return self.upsampler.mean_pixels(chances.view(logits.shape).to(logits.dtype), coarse)

    def _filters(self, count: int, device: torch.device) -> Filters:
        """Of so many finer codes, whichever rows they are of."""
        own = self.enhancement
        params = RowParams(0, 0, own.temperature, own.top_k, own.top_p)
        return Filters.of([params] * count, self.upsampler.vocab_size, device)

    def _draw(self, codes: Tensor, rows: Sequence[RowParams]) -> Tensor:
        (steps, count), device = self.upsampler.code_shape, codes.device
        filters = self._filters(len(rows) * steps, device)
        seeds, candidates = (
            torch.tensor([getattr(row, name) for row in rows], device=device)
            for name in ("seed", "candidate")
        )
        numbers = uniforms(seeds, candidates, steps * count, FINER_CODES)
        numbers = numbers.view(len(rows) * steps, count)
        logits = self.upsampler.logits(codes).flatten(0, 1)  # [n·T, K, V]
        drawn = [draw(logits[:, k], filters, numbers[:, k]) for k in range(count)]
        return torch.stack(drawn, -1).view(len(rows), steps, count)


def random_upsampler(enhancement: Enhancement, seed: int) -> nn.Module:
    """An upsampler of this shape with seeded random weights, to measure or to test."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build_upsampler(enhancement.shape)
        for name, parameter in module.named_parameters():
            # Wide enough that logits differ, as a trained model's do.
            if name.startswith("prior."):
                nn.init.normal_(parameter, std=0.3)
    return module
