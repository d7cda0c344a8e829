"""What causal transformers are built of: attention, MLP and the block that joins them.

Two ways through each: `forward` over whole sequences, `decode` of one position per row against a
`KVCache`. Module names are the checkpoints'. Knows no embeddings, no heads and no prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.stage2.kv_cache import KVCache, Step


class BlockConfig(Protocol):
    """What a block reads of its model's shape."""

    @property
    def embed_dim(self) -> int: ...
    @property
    def n_heads(self) -> int: ...
    @property
    def attn_bias(self) -> bool: ...
    @property
    def mlp_bias(self) -> bool: ...
    @property
    def gelu_use_approx(self) -> bool: ...
    @property
    def attn_pdrop(self) -> float: ...
    @property
    def resid_pdrop(self) -> float: ...


@dataclass(frozen=True, slots=True)
class BlockOptions:
    """How some families' blocks differ from GPT's.

    `sandwich_norms` normalise what attention and MLP add, too (Ding et al. 2021, CogView);
    `tanh_gelu` is GELU by its approximation with tanh.
    """

    sandwich_norms: bool = False
    tanh_gelu: bool = False


_PLAIN = BlockOptions()


class Attention(nn.Module):
    """Multi-head self-attention with fused query, key and value."""

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.pdrop = config.attn_pdrop
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim, bias=config.attn_bias)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim, bias=config.attn_bias)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Whole sequences [B, T, E] → [B, T, E], and keys and values [2, B, H, T, dim].

        The mask, broadcast to [B, H, T, T], is added to the scores or, of type bool, true where a
        position may look; None is causal. With a `past`, keys and values [2, B, H, S, dim] of
        positions before these, all see it and each other, and it stands before what is returned.
        """
        qkv = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        q, keys_values = qkv[0], qkv[1:]  # [B, H, T, dim] and two of it
        if past is not None:
            keys_values = torch.cat((past, keys_values), -2)
        k, v = keys_values
        pdrop = self.pdrop if self.training else 0.0
        if k.shape[-2] == 1 and not pdrop:  # who is alone sees itself and nothing else
            h = v
        else:
            is_causal = mask is None and past is None
            h = F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, dropout_p=pdrop)
        return self.proj(h.transpose(1, 2).flatten(2)), keys_values

    def decode(self, x: Tensor, cache: KVCache, layer: int, step: Step) -> Tensor:
        """One position per row [b, E] → [b, E], with this position stored in the cache."""
        qkv = self.qkv(x).view(len(x), 3, self.n_heads, -1)  # [b, 3, H, dim]
        cache.write(layer, qkv[:, 1:], step)
        keys, values = cache.read(layer, len(x), step.span)
        h = attend_one(qkv[:, 0], keys, values, step.mask)
        out: Tensor = self.proj(h.flatten(1))
        return out


def attend_one(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Attention of one query per row [b, H, dim] → [b, H, dim].

    Keys are [b, H, S, dim], values too or of a width of their own; the mask [b, H or 1, 1, S] is 0
    where a row may look, else -inf.
    """
    if q.is_cuda:
        return F.scaled_dot_product_attention(q[:, :, None], keys, values, attn_mask=mask)[:, :, 0]
    # The CPU's fused kernel is made for many queries; for one, two products are up to 4x faster.
    num_rows, num_heads, dim = q.shape
    hidden = mask.expand(-1, num_heads, -1, -1).flatten(0, 1)
    queries = q.reshape(-1, 1, dim)
    scores = torch.baddbmm(hidden, queries, keys.flatten(0, 1).mT, alpha=dim**-0.5)
    out = torch.bmm(scores.softmax(-1), values.flatten(0, 1))  # sums in float32 at least
    return out.view(num_rows, num_heads, -1)


class Block(nn.Module):
    """Pre-norm attention and MLP, each beside a residual."""

    def __init__(self, config: BlockConfig, options: BlockOptions = _PLAIN) -> None:
        super().__init__()
        width = config.embed_dim
        self.ln1 = nn.LayerNorm(width)
        self.attn = Attention(config)
        self.ln2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width, bias=config.mlp_bias),
            _activation(config, options),
            nn.Linear(4 * width, width, bias=config.mlp_bias),
            _dropout(config.resid_pdrop),
        )
        self.resid_drop = _dropout(config.resid_pdrop)
        has_norms = options.sandwich_norms
        self.ln1_out = nn.LayerNorm(width) if has_norms else nn.Identity()
        self.ln2_out = nn.LayerNorm(width) if has_norms else nn.Identity()

    def forward(
        self, x: Tensor, mask: Tensor | None = None, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """[B, T, E] → ([B, T, E], keys and values [2, B, H, T, dim]); see `Attention`."""
        attended, keys_values = self.attn(self.ln1(x), mask, past)
        x = x + self.ln1_out(self.resid_drop(attended))
        return x + self.ln2_out(self.mlp(self.ln2(x))), keys_values

    def decode(self, x: Tensor, cache: KVCache, layer: int, step: Step) -> Tensor:
        """[b, E] → [b, E]."""
        x = x + self.ln1_out(self.attn.decode(self.ln1(x), cache, layer, step))
        out: Tensor = x + self.ln2_out(self.mlp(self.ln2(x)))
        return out


def _dropout(share: float) -> nn.Module:
    return nn.Dropout(share) if share else nn.Identity()  # none is still a call a step


def _activation(config: BlockConfig, options: BlockOptions) -> nn.Module:
    if config.gelu_use_approx:
        return ApproxGELU()
    return nn.GELU(approximate="tanh" if options.tanh_gelu else "none")


class ApproxGELU(nn.Module):
    """x · sigmoid(1.702 x), the checkpoints' `gelu_use_approx`."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class EndsInNorm(nn.Module):
    """A prior whose last norm is never quantised: it tells where and what the weights are."""

    ln_f: nn.LayerNorm

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.ln_f.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights that are not quantised, of activations and of the cache."""
        return self.ln_f.weight.dtype
