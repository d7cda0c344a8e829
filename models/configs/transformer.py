"""Shapes of transformers over codes as dataclasses. Knows no torch, and no codec.

What the numbers mean is in the model files; fields are named as in the official config.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.configs.numbers import Count, Share, Size
from models.configs.prior import PrefixKind


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """Shape of the transformer over codes; `prefix` says what stands before the first code.

    With `vocab_size` it is the minGPT of taming-transformers: one table of so many tokens for
    prompt and codes, and one of `block_size` positions that run through both. Where there is no
    prompt it begins with the tokens `start`; the first `n_unmasked` positions see each other.
    """

    prefix: PrefixKind = "text"
    embed_dim: Size = 1536
    n_layers: Size = 42
    n_heads: Size = 24
    vocab_size_img: Size = 16384
    ctx_len_img: Size = 256
    vocab_size_txt: Count = 16384
    ctx_len_txt: Count = 64
    n_classes: Count = 0
    vocab_size: Count = 0
    block_size: Count = 0
    start: tuple[Count, ...] = (0,)
    n_unmasked: Count = 0
    mlp_bias: bool = True
    attn_bias: bool = True
    gelu_use_approx: bool = False
    embd_pdrop: Share = 0.0
    resid_pdrop: Share = 0.0
    attn_pdrop: Share = 0.0

    @property
    def prompt_kind(self) -> PrefixKind:
        return self.prefix

    @property
    def prompt_len(self) -> int:
        if self.prefix == "text":
            return self.ctx_len_txt
        return len(self.start) if self.prefix == "none" else 1

    @property
    def prompt_vocab_size(self) -> int:
        return self.vocab_size_txt if self.prefix == "text" else max(self.n_classes, 1)

    @property
    def num_steps(self) -> int:
        return self.ctx_len_img

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        return (self.vocab_size_img,)

    @property
    def summary(self) -> str:
        return f"{self.n_layers} layers of {self.embed_dim}, {self.n_heads} heads"

    def row_bytes(self, number_bytes: int) -> int:
        return 2 * self.n_layers * self.embed_dim * self.num_positions * number_bytes

    @property
    def num_positions(self) -> int:
        """Cache positions a row needs; the last code is drawn but never fed back."""
        return self.prompt_len + self.ctx_len_img - 1

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.n_heads


@dataclass(frozen=True, slots=True)
class StackConfig:
    """Shape of one stack of transformer blocks: a body over steps, or a head over their codes."""

    embed_dim: Size
    n_layers: Count
    n_heads: Size
    mlp_bias: bool = True
    attn_bias: bool = True
    gelu_use_approx: bool = False
    attn_pdrop: Share = 0.0
    resid_pdrop: Share = 0.1
