"""A cell's codes as tokens: the one that the body reads, and those that the head reads.

A cell is one coarsest code and all that lie below it, level after level, row by row inside the
cell. Knows no prompts, no sampling and no checkpoint names. Facts that are easy to get wrong: a
token is the mean over the cell and not the sum, "reduce" lays channels out first, and a window's
codes are told apart by their places alone, since all of them read the coarser codes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate, pairwise
from math import isqrt
from typing import cast

import torch
from torch import Tensor, nn

from models.configs.hq import HQTransformerConfig
from models.stage2.stack import Stack

_MIN_PLACES = 5  # rows of the official files' table of places inside a cell


def level_slices(config: HQTransformerConfig) -> list[slice]:
    """Where each level's codes are in a cell."""
    return [slice(*ends) for ends in pairwise(accumulate(config.codes_per_level, initial=0))]


class CellEmbedding(nn.Module):
    """A cell's codes → the token that the body reads."""

    def __init__(self, config: HQTransformerConfig) -> None:
        super().__init__()
        self.config = config
        width, (_, *finer) = config.embed_dim, config.sizes
        fine_width = width // config.codes_per_level[1] if config.embedding == "reduce" else width
        tables = [nn.Embedding(config.sizes[0], width)]
        self.tok_emb_levels = nn.ModuleList(
            [*tables, *(nn.Embedding(size, fine_width) for size in finer)]
        )
        if config.position_embedding == "2d":
            self.pos_emb_top_h = nn.Embedding(isqrt(config.ctx_len_img), width)
            self.pos_emb_top_w = nn.Embedding(isqrt(config.ctx_len_img), width)
        else:
            self.pos_emb_top = nn.Embedding(config.ctx_len_img, width)
        if config.embedding in ("transformer", "bidirectional"):
            self.pos_emb_emb = nn.Embedding(sum(config.codes_per_level), width)
            self.emb = Stack(replace(config.body, n_layers=config.n_emb_blocks))
        elif config.embedding == "multiple":
            columns = 1 if config.drawing == "causal" else config.codes_per_level[1]
            self.pos_emb_bot = nn.Parameter(torch.randn(1, 1, width, columns))

    def forward(self, codes: Tensor, places: Tensor) -> Tensor:
        """Codes [..., D] and their cells' places in the picture, [...] → [..., E]."""
        place = self._place(places)
        top, *finer = (
            level(codes[..., where])
            for level, where in zip(self._tables(), level_slices(self.config), strict=True)
        )
        match self.config.embedding:
            case "transformer":
                return self._mean([top + place[..., None, :], *finer])
            case "bidirectional":
                return self._mean([top, *finer]) + place
            case "reduce":
                return torch.add(top[..., 0, :] + place, finer[0].mT.flatten(-2))
            case "multiple":
                weighed = finer[0] * self.pos_emb_bot[0, 0].mT
                return torch.add(top[..., 0, :] + place, weighed.sum(-2))

    def _mean(self, tokens: list[Tensor]) -> Tensor:
        x = torch.cat(tokens, -2) + self.pos_emb_emb.weight
        length, width = x.shape[-2:]
        made, _ = self.emb(x.flatten(0, -3), x.new_zeros(length, length))
        out: Tensor = made.mean(-2).view(*x.shape[:-2], width)
        return out

    def _place(self, places: Tensor) -> Tensor:
        if self.config.position_embedding == "1d":
            place: Tensor = self.pos_emb_top(places)
            return place
        side = isqrt(self.config.num_steps)  # not the table's, as the reference's sampler has it
        both: Tensor = self.pos_emb_top_h(places // side) + self.pos_emb_top_w(places % side)
        return both

    def _tables(self) -> Iterable[nn.Embedding]:
        return cast(Iterable[nn.Embedding], self.tok_emb_levels)


class HeadInputs(nn.Module):
    """What the head reads at a cell's codes, from the body's output and the codes before."""

    def __init__(self, config: HQTransformerConfig) -> None:
        super().__init__()
        self.config = config
        width, levels = config.embed_dim, config.codes_per_level
        self.sos_depth = nn.Parameter(torch.randn(1, 1, width))
        # Of the official tables those that nothing reads are left out.
        num_read = {"causal": len(levels), "bidirectional": 0}.get(config.drawing, len(levels) - 1)
        self.tok_emb_depth_levels = nn.ModuleList(
            nn.Embedding(size, width) for size in config.sizes[:num_read]
        )
        is_padded = config.drawing != "multilevel"
        self.pos_emb_depths = nn.ModuleList(
            nn.Embedding(max(count, _MIN_PLACES) if is_padded else count, width)
            for count in levels[1:]
        )

    def forward(self, context: Tensor, codes: Tensor, window: int) -> Tensor:
        """The body's outputs [..., E] and the codes before a window [..., d] → [..., n, E]."""
        if window == 0:
            return self._first(context)
        if self.config.drawing == "causal":
            return self._behind(codes[..., -1:], window)
        return self._below(codes, window)

    def _first(self, context: Tensor) -> Tensor:
        """Where nothing is drawn yet: the coarsest code, and with it the others, by place alone."""
        first = context[..., None, :] + self.sos_depth.flatten()
        if self.config.drawing != "bidirectional":
            return first
        return torch.cat((first, self._places(1).expand(*context.shape[:-1], -1, -1)), -2)

    def _behind(self, code: Tensor, depth: int) -> Tensor:
        """One code at a time: what stands at this depth is told by the code before it [..., 1]."""
        token: Tensor = self.tok_emb_depth_levels[min(depth - 1, 1)](code)
        return token + self._places(1)[depth - 1]

    def _below(self, codes: Tensor, level: int) -> Tensor:
        """A whole level: each code is told by its place and all codes that it lies below."""
        x = self._places(level)
        side = isqrt(self.config.codes_per_level[level])
        for above in range(level):
            tokens = self.tok_emb_depth_levels[above](codes[..., level_slices(self.config)[above]])
            x = x + _spread(tokens, side)
        return x

    def _places(self, level: int) -> Tensor:
        table = self.pos_emb_depths[level - 1]
        assert isinstance(table, nn.Embedding)
        return table.weight[: self.config.codes_per_level[level]]


def _spread(tokens: Tensor, side: int) -> Tensor:
    """A square of tokens [..., n, E], each repeated for those that lie below it, [..., s·s, E]."""
    *batch, count, width = tokens.shape
    before = isqrt(count)
    times = side // before
    square = tokens.view(*batch, before, 1, before, 1, width)
    return square.expand(*batch, before, times, before, times, width).flatten(-5, -2)
