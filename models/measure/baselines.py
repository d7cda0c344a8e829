"""Two plain ways to draw codes, to measure the engine against: no cache, and a cache that grows.

Both compute the engine's logits from the same weights; only the work around them is theirs. They
serve no requests, sample no codes and keep no rows apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.transformer import TransformerConfig
from models.stage2.blocks import Attention, Block


class BlockStack(Protocol):
    """What both ask of a prior: one stack of causal blocks over prompt and codes."""

    config: TransformerConfig
    blocks: nn.ModuleList
    ln_f: nn.LayerNorm

    @property
    def head(self) -> Callable[[Tensor], Tensor]: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    def embed_prefix(self, prefix: Tensor) -> Tensor: ...
    def embed_codes(self, codes: Tensor, positions: Tensor) -> Tensor: ...
    def hidden(self, prefix: Tensor, codes: Tensor) -> Tensor: ...


def is_block_stack(prior: object) -> TypeGuard[BlockStack]:
    """Whether both can draw with a prior.

    From Python 3.12 on isinstance and a protocol overlook the modules that a module has.
    """
    named = ("config", "blocks", "ln_f", "head", "embed_prefix", "embed_codes", "hidden")
    return all(hasattr(prior, name) for name in named)


def recomputed_logits(stage2: BlockStack, prefix: Tensor, codes: Tensor) -> Tensor:
    """Without a cache: the whole sequence again for each code.

    Args:
        stage2: with plain linear layers.
        prefix: ids [B, N].
        codes: drawn so far, [B, t].

    Returns:
        [B, V], of the next code.
    """
    return stage2.head(stage2.hidden(prefix, codes)[:, -1])


class ConcatenatingCache:
    """As minDALL-E's own sampler does it (dalle/models/stage2/transformer.py, read and rewritten).

    Every step returns its keys and values, [layer, 2, B·H, 1, dim], the caller keeps them in a
    list, and the next step concatenates the whole list; each layer concatenates its part again.
    Query, key and value are three products, and each candidate's prompt is computed for itself.
    """

    def __init__(self, stage2: BlockStack) -> None:
        self.stage2 = stage2
        self.past: list[Tensor] = []

    def prefill(self, prefix: Tensor) -> Tensor:
        """Prefix ids [B, N], one per candidate → logits of the first code [B, V]."""
        return self._run(self.stage2.embed_prefix(prefix))

    def decode(self, codes: Tensor, place: int) -> Tensor:
        """The codes drawn last [B] and their common place → logits of the next [B, V]."""
        places = torch.full_like(codes, place)
        return self._run(self.stage2.embed_codes(codes, places)[:, None])

    def pretend(self, num_rows: int, num_steps: int) -> None:
        """Hold the past of a prefill and some steps, all random, to measure the step after them."""
        config, device = self.stage2.config, self.stage2.device
        shape = (config.n_layers, 2, num_rows * config.n_heads)
        lengths = [config.prompt_len] + [1] * num_steps
        self.past = [
            torch.randn(*shape, length, config.head_dim, device=device).to(self.stage2.dtype)
            for length in lengths
        ]

    def _run(self, x: Tensor) -> Tensor:
        joined = torch.cat(self.past, -2) if self.past else None
        present = []
        for layer, block in enumerate(cast(Iterable[Block], self.stage2.blocks)):
            past = joined[layer] if joined is not None else None
            open_to = self.stage2.config.n_unmasked
            attended, keys_values = _attend(block.attn, block.ln1(x), past, open_to)
            x = x + attended
            x = x + block.mlp(block.ln2(x))
            present.append(keys_values)
        self.past.append(torch.stack(present).clone())
        return self.stage2.head(self.stage2.ln_f(x)[:, -1])


def _attend(
    attn: Attention, x: Tensor, past: Tensor | None, num_open: int
) -> tuple[Tensor, Tensor]:
    """[B, T, E] → [B, T, E] and this step's keys and values [2, B·H, T, dim].

    The first `num_open` positions of a prompt see each other.
    """
    num_rows, length, width = x.shape
    biases = [None] * 3 if attn.qkv.bias is None else attn.qkv.bias.chunk(3)
    q, k, v = (
        F.linear(x, weight, bias)
        .view(num_rows, length, attn.n_heads, -1)
        .transpose(1, 2)
        .flatten(0, 1)
        for weight, bias in zip(attn.qkv.weight.chunk(3), biases, strict=True)
    )  # [B·H, T, dim] each
    present = torch.stack((k, v))
    if past is not None:
        k, v = torch.cat((past[0], k), -2), torch.cat((past[1], v), -2)
    scores = torch.bmm(q, k.mT) * q.shape[-1] ** -0.5
    if past is None:
        later = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        later[:num_open, :num_open] = False
        scores = scores.masked_fill(later, -torch.inf)
    h = torch.bmm(scores.softmax(-1), v)  # [B·H, T, dim]
    h = h.view(num_rows, -1, length, h.shape[-1]).transpose(1, 2).reshape(num_rows, length, width)
    return attn.proj(h), present
