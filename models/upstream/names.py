"""What our tensors are called in upstream's files, for families that only need a rule or two.

A name, a shape and the config → the keys there, of which shapes, that make the tensor up; and
patterns of the keys that may stand beside them. Families whose names follow from how they are built
tell them where they are built. Knows no torch.
"""

from __future__ import annotations

from typing import Any

from models.configs.hq import HQVAEConfig, TwoScalesConfig
from models.configs.rq import RQVAEConfig
from models.configs.transformer import TransformerConfig
from models.configs.vqgan import VQGANConfig
from models.errors import Shape

AVERAGES = r".*\.(cluster_size|embedding_avg)"  # moving averages of a codebook: training's
_QKV = ("query", "key", "value")


def own(name: str, shape: Shape, _config: Any) -> dict[str, Shape]:
    """The same."""
    return {name: shape}


def split_qkv(name: str, shape: Shape, _config: Any) -> dict[str, Shape]:
    """Upstream keeps query, key and value apart."""
    if ".attn.qkv." in name:
        part = (shape[0] // 3, *shape[1:])
        return {name.replace(".qkv.", f".{key}."): part for key in _QKV}
    return {name: shape}


def of_transformer(name: str, shape: Shape, config: TransformerConfig) -> dict[str, Shape]:
    """The unconditional start and minGPT's positions are bare parameters."""
    if config.vocab_size and name == "tok_emb_img.weight":
        return {"tok_emb.weight": shape}
    if config.vocab_size and name == "pos_emb_img.weight":
        return {"pos_emb": (1, *shape)}
    if name == "head.weight" and config.prefix == "text":
        return {"head_img.weight": shape}
    if name == "sos.weight" and config.prefix == "none":
        return {"sos": (1, *shape)}
    return split_qkv(name, shape, config)


def of_vqgan(name: str, shape: Shape, config: VQGANConfig) -> dict[str, Shape]:
    """A Gumbel codebook has a name of its own."""
    is_book = name == "quantize.embedding.weight" and config.quantizer == "gumbel"
    return {"quantize.embed.weight" if is_book else name: shape}


def of_two_scales(name: str, shape: Shape, config: TwoScalesConfig) -> dict[str, Shape]:
    """Upstream keeps them in two files; here each key begins with which of them."""
    part, _, leaf = name.partition(".")
    theirs = of_transformer(leaf, shape, config.top if part == "top" else config.bottom)
    return {f"{part}.{key}": value for key, value in theirs.items()}


def unread_of_rq_vae(config: RQVAEConfig) -> str:
    """Moving averages are training's; a shared codebook stands in the file once per depth."""
    averages = r"quantizer\.codebooks\.\d+\.(cluster_size_ema|embed_ema)"
    copies = r"|quantizer\.codebooks\.[1-9]\d*\.weight" if config.shared_codebook else ""
    return averages + copies


def unread_of_hq_vae(config: HQVAEConfig) -> str:
    """Moving averages are training's; where one codebook serves all levels, the others are, too."""
    second = r"|quantize_b\..*|quantizers\.[1-9]\d*\..*" if config.has_shared_codebook else ""
    return AVERAGES + second
