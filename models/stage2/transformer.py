"""Stage 2: a causal transformer over a prefix and the image codes (minDALL-E, ImageGPT).

One class for all three prefixes: text, a class, nothing. Three ways through the same blocks:
`forward` over whole sequences (training, checks), `prefill` of one prefix, `decode` of one position
per row against the cache. Knows no sampling and no checkpoint names. Position facts: the text and
the codes each count from 0, the start-of-sequence of class and empty prefixes has no position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs import TransformerConfig
from models.stage2.kv_cache import KVCache


class Attention(nn.Module):
    """Multi-head causal self-attention with fused query, key and value."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.pdrop = config.attn_pdrop
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim, bias=config.attn_bias)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim, bias=config.attn_bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Whole sequences [B, T, E] → ([B, T, E], keys and values [2, B, H, T, dim])."""
        qkv = self.qkv(x).unflatten(-1, (3, self.n_heads, -1))  # [B, T, 3, H, dim]
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        pdrop = self.pdrop if self.training else 0.0
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=pdrop)
        return self.proj(h.transpose(1, 2).flatten(2)), torch.stack((k, v))

    def decode(self, x: Tensor, cache: KVCache, layer: int, step: Step) -> Tensor:
        """One position per row [b, E] → [b, E], with this position stored in the cache."""
        qkv = self.qkv(x).unflatten(-1, (3, self.n_heads, -1))  # [b, 3, H, dim]
        cache.write(layer, qkv[:, 1:].transpose(0, 1), step.positions)
        keys, values = cache.read(layer, len(x), step.span)
        h = attend_one(qkv[:, 0], keys, values, step.mask)
        out: Tensor = self.proj(h.flatten(1))
        return out


def attend_one(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Attention of one query per row.

    Args:
        q: [b, H, dim].
        keys: [b, H, S, dim].
        values: [b, H, S, dim].
        mask: [b, 1, 1, S], 0 where a row may look and -inf elsewhere.

    Returns:
        [b, H, dim].
    """
    if q.is_cuda:
        return F.scaled_dot_product_attention(q[:, :, None], keys, values, attn_mask=mask)[:, :, 0]
    # The CPU's fused kernel is made for many queries; for one, two products are up to 4x faster.
    num_rows, num_heads, dim = q.shape
    hidden = mask.expand(-1, num_heads, -1, -1).flatten(0, 1)
    scores = torch.baddbmm(hidden, q.flatten(0, 1)[:, None], keys.flatten(0, 1).mT, alpha=dim**-0.5)
    out = torch.bmm(scores.softmax(-1), values.flatten(0, 1))  # sums in float32 at least
    return out.view(num_rows, num_heads, dim)


class Block(nn.Module):
    """Pre-norm attention and MLP, each beside a residual."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.embed_dim
        self.ln1 = nn.LayerNorm(width)
        self.attn = Attention(config)
        self.ln2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width, bias=config.mlp_bias),
            ApproxGELU() if config.gelu_use_approx else nn.GELU(),
            nn.Linear(4 * width, width, bias=config.mlp_bias),
            nn.Dropout(config.resid_pdrop),
        )
        self.resid_drop = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, E] → ([B, T, E], keys and values [2, B, H, T, dim])."""
        attended, keys_values = self.attn(self.ln1(x))
        x = x + self.resid_drop(attended)
        return x + self.mlp(self.ln2(x)), keys_values

    def decode(self, x: Tensor, cache: KVCache, layer: int, step: Step) -> Tensor:
        """[b, E] → [b, E]."""
        x = x + self.attn.decode(self.ln1(x), cache, layer, step)
        out: Tensor = x + self.mlp(self.ln2(x))
        return out


class ApproxGELU(nn.Module):
    """x · sigmoid(1.702 x), the checkpoints' `gelu_use_approx`."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


@dataclass(frozen=True, slots=True)
class Step:
    """Where the rows of one decode step stand."""

    positions: Tensor  # [b] int64, cache positions
    mask: Tensor  # [b, 1, 1, span]
    span: int


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prefilled prompt: what all its candidates share."""

    keys_values: Tensor  # [layer, 2, 1, H, N, dim]
    hidden: Tensor  # [1, E], predicts the first code


class Transformer(nn.Module):
    """minDALL-E's stage 2. `depth` codes per step, `num_steps` steps per image."""

    depth = 1

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.num_steps = config.ctx_len_img
        width = config.embed_dim
        self.tok_emb_img = nn.Embedding(config.vocab_size_img, width)
        self.pos_emb_img = nn.Embedding(config.ctx_len_img, width)
        if config.prefix == "text":
            self.tok_emb_txt = nn.Embedding(config.vocab_size_txt, width)
            self.pos_emb_txt = nn.Embedding(config.ctx_len_txt, width)
            self.head_txt = nn.Linear(width, config.vocab_size_txt, bias=False)
        else:
            self.sos = nn.Embedding(max(config.n_classes, 1), width)
        self.embd_drop = nn.Dropout(config.embd_pdrop)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.vocab_size_img, bias=False)

    @property
    def vocab_size(self) -> int:
        """How many codes there are to draw from."""
        return self.config.vocab_size_img

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.ln_f.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights that are not quantised, of activations and of the cache."""
        return self.ln_f.weight.dtype

    def new_cache(self, num_rows: int) -> KVCache:
        """An empty cache for `num_rows` rows."""
        return KVCache(self.config, num_rows, self.device, self.dtype)

    def embed_prefix(self, prefix: Tensor) -> Tensor:
        """Prefix ids → [B, N, E].

        Args:
            prefix: text ids [B, N]; class ids [B, 1]; zeros [B, 1] for the empty prefix.
        """
        if self.config.prefix == "text":
            tokens: Tensor = self.tok_emb_txt(prefix) + self.pos_emb_txt.weight[: prefix.shape[1]]
            return tokens
        sos: Tensor = self.sos(prefix)
        return sos

    def embed_codes(self, codes: Tensor, positions: Tensor) -> Tensor:
        """Codes and their places in the image, any equal shapes → [..., E]."""
        embedded: Tensor = self.tok_emb_img(codes) + self.pos_emb_img(positions)
        return embedded

    def hidden(self, prefix: Tensor, codes: Tensor) -> Tensor:
        """Prefix ids [B, N] and codes [B, t] → outputs of all positions [B, N + t, E]."""
        places = torch.arange(codes.shape[1], device=codes.device)
        embedded = torch.cat((self.embed_prefix(prefix), self.embed_codes(codes, places)), 1)
        x = self.embd_drop(embedded)
        for block in cast(Iterable[Block], self.blocks):
            x, _ = block(x)
        out: Tensor = self.ln_f(x)
        return out

    def forward(self, prefix: Tensor, codes: Tensor) -> tuple[Tensor, Tensor | None]:
        """Teacher-forced logits.

        Args:
            prefix: ids [B, N], see `embed_prefix`.
            codes: [B, T]; the last one is predicted but never fed.

        Returns:
            Image logits [B, T, V], position t predicts code t; and for text prefixes the text
            logits [B, N - 1, Vt], position j predicts token j + 1, else None.
        """
        num_prefix = prefix.shape[1]
        x = self.hidden(prefix, codes[:, :-1])
        image: Tensor = self.head(x[:, num_prefix - 1 :])
        if self.config.prefix != "text":
            return image, None
        return image, self.head_txt(x[:, : num_prefix - 1])

    def prefill(self, prefix: Tensor) -> Prefix:
        """Run one prompt's prefix ids [1, N] once."""
        x = self.embed_prefix(prefix)
        cached = []
        for block in cast(Iterable[Block], self.blocks):
            x, keys_values = block(x)
            cached.append(keys_values)
        return Prefix(torch.stack(cached), self.ln_f(x[:, -1]))

    def decode(self, codes: Tensor, places: Tensor, cache: KVCache, step: Step) -> Tensor:
        """Feed each row its latest code.

        Args:
            codes: [b, 1], the codes drawn last.
            places: [b], their places in the image.
            cache: rows 0 .. b-1 are read and written.
            step: where the rows stand in the cache.

        Returns:
            [b, E], each row's state that predicts its next code.
        """
        x = self.embed_codes(codes[:, 0], places)
        for layer, block in enumerate(cast(Iterable[Block], self.blocks)):
            x = block.decode(x, cache, layer, step)
        out: Tensor = self.ln_f(x)
        return out

    def sample(self, hidden: Tensor, draw: Callable[[Tensor, int], Tensor]) -> Tensor:
        """States [b, E] → the next codes [b, 1]; `draw` turns logits at a depth into codes [b]."""
        return draw(self.head(hidden), 0)[:, None]
