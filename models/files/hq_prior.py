"""The HQ family's prior: its section of config.yaml ↔ its shape.

An unknown key is an error, what is missing takes the reference's defaults, and what it can't do
because of a slip alone (a batch of one, a text before any way of drawing) is no error here. Knows
no torch and no files.
"""

from __future__ import annotations

import re
from dataclasses import asdict, fields, replace
from math import isqrt
from typing import get_args

from models.configs.codec import CodecConfig
from models.configs.hq import HQ_TYPES, Embedding, HQTransformerConfig, HQVAEConfig
from models.configs.prior import PrefixKind
from models.configs.transformer import StackConfig
from models.errors import ConfigError
from models.files import hq_sections
from models.files.checked import checked
from models.files.hq_sections import one, pair
from models.files.sections import Section, require

_NUM_HEAD_LAYERS = 4  # of a head that isn't described


def read_hq_transformer(section: Section, path: str, codec: CodecConfig) -> HQTransformerConfig:
    """Stage 2 over the codes of `codec`, of one of the types in `HQ_TYPES`.

    Raises:
        ConfigError: naming the key.
    """
    given = checked(hq_sections.Prior, section, path)
    if not isinstance(codec, HQVAEConfig):
        raise ConfigError(f"{path}.type: an HQ-Transformer draws the codes of an HQ-VAE")
    body = checked(hq_sections.Stack, given.hparams or {}, f"{path}.hparams")
    embedding, num_blocks = _embedding(body.embedding_type, f"{path}.hparams.embedding_type")
    head = replace(body, n_layers=_NUM_HEAD_LAYERS)
    if given.hparams_dec is not None:
        head = checked(hq_sections.Stack, given.hparams_dec, f"{path}.hparams_dec")
    drawing, prefix = HQ_TYPES[given.type], _prefix(given)
    is_many = drawing == "multilevel"
    config = HQTransformerConfig(
        prefix=prefix,
        num_steps=codec.code_shape[0],
        sizes=given.vocab_sizes_img
        if is_many
        else pair(given.vocab_size_img, f"{path}.vocab_size_img"),
        ratio=codec.ratio,
        drawing=drawing,
        embedding=embedding,
        n_emb_blocks=num_blocks,
        position_embedding=body.position_embedding,
        ctx_len_img=body.ctx_len_img,
        vocab_size_txt=given.vocab_size_txt if prefix == "text" else 0,
        ctx_len_txt=body.ctx_len_txt if prefix == "text" else 0,
        n_classes=(body.n_classes or 0) if prefix == "class" else 0,
        body=_stack(body),
        head=_stack(head),
        embd_pdrop=body.embd_pdrop,
        weight_bottom=1.0 if given.weight_bottom is None else given.weight_bottom,
        weight_img=1.0 if given.weight_img is None else given.weight_img,
        weight_txt=given.weight_txt or 0.0,
        temp_soft_labels=given.temp_soft_labels,
    )
    _check_type(config, given, path)
    _check_shape(config, path)
    _check_pair(config, path, codec)
    return config


def _prefix(given: hq_sections.Prior) -> PrefixKind:
    if given.use_txt_cond:
        return "text"
    return "class" if given.use_cls_cond else "none"


def _embedding(kind: str | None, path: str) -> tuple[Embedding, int]:
    """`transformer3` → how a cell becomes a token, and behind how many blocks: one fewer."""
    found = re.fullmatch(r"(transformer|bidirectional)([1-9]\d*)|reduce|multiple", kind or "")
    if not found:
        raise ConfigError(
            f"{path}: {kind!r} is not supported, only transformer1 and its like,"
            " bidirectional1, reduce or multiple"
        )
    name: Embedding = next(name for name in get_args(Embedding) if name == (found[1] or kind))
    return name, int(found[2] or 1) - 1


def _stack(values: hq_sections.Stack) -> StackConfig:
    names = [field.name for field in fields(StackConfig)]
    return StackConfig(**{name: getattr(values, name) for name in names})


def _check_type(config: HQTransformerConfig, given: hq_sections.Prior, path: str) -> None:
    """What the type says of a cell against what the section says of it."""
    below = config.ratio**2
    number = given.type.lstrip("abcdefghijklmnopqrstuvwxyz-/")
    is_many = config.drawing == "multilevel"
    is_one_by_one = config.drawing == "causal"
    require(
        is_many or given.ratio_bot2top == below,
        f"{path}.ratio_bot2top: {given.ratio_bot2top} for a stage 1 with {below} codes below one",
    )
    require(
        is_many or is_one_by_one or int(number or 4) == below,
        f"{path}.type: {given.type} draws {number or 4} codes at once, {below} lie below one",
    )
    require(
        given.decoding_type in (None, "parallel-add"),
        f"{path}.decoding_type: {given.decoding_type!r} is not supported, only parallel-add",
    )


def _check_shape(config: HQTransformerConfig, path: str) -> None:
    hparams, many = f"{path}.hparams", len(config.sizes) > 2
    for name, stack in (("hparams", config.body), ("hparams_dec", config.head)):
        require(stack.embed_dim == config.embed_dim, f"{path}.{name}.embed_dim: must be the body's")
        require(
            stack.embed_dim % stack.n_heads == 0, f"{path}.{name}.n_heads: must divide embed_dim"
        )
    require(config.body.n_layers > 0, f"{hparams}.n_layers: must be at least 1")
    require(
        not (many and config.embedding in ("reduce", "multiple")),
        f"{hparams}.embedding_type: {config.embedding} is for two levels",
    )
    require(
        config.embedding != "reduce" or config.embed_dim % config.ratio**2 == 0,
        f"{hparams}.embed_dim: no multiple of {config.ratio**2}, which embedding_type reduce needs",
    )
    require(
        config.prefix != "class" or config.n_classes > 0,
        f"{hparams}.n_classes: needed where use_cls_cond is true",
    )
    require(
        config.prefix != "text" or config.ctx_len_txt > 0,
        f"{hparams}.ctx_len_txt: must be at least 1 where use_txt_cond is true",
    )
    is_flat = config.position_embedding == "1d"
    rows, needed = config.ctx_len_img, config.num_steps
    require(
        (rows if is_flat else isqrt(rows) ** 2) >= needed,
        f"{hparams}.ctx_len_img: {rows} positions for {needed} cells",
    )


def _check_pair(config: HQTransformerConfig, path: str, codec: HQVAEConfig) -> None:
    """Refuse stages that don't belong together."""
    name = "vocab_sizes_img" if config.drawing == "multilevel" else "vocab_size_img"
    require(
        len(config.sizes) == len(codec.n_embed)
        and all(size <= book for size, book in zip(config.sizes, codec.n_embed, strict=False)),
        f"{path}.{name}: {list(config.sizes)} for codebooks of {list(codec.n_embed)}",
    )


def write_hq_transformer(config: HQTransformerConfig) -> Section:
    """The section that `read_hq_transformer` reads."""
    is_many = config.drawing == "multilevel"
    sizes = (
        {"vocab_sizes_img": [*config.sizes]} if is_many else {"vocab_size_img": one(config.sizes)}
    )
    number = config.n_emb_blocks + 1 if config.embedding in ("transformer", "bidirectional") else ""
    hparams = {
        **asdict(config.body),
        "embd_pdrop": config.embd_pdrop,
        "embedding_type": f"{config.embedding}{number}",
        "position_embedding": config.position_embedding,
        "ctx_len_img": config.ctx_len_img,
    }
    hparams |= {"ctx_len_txt": config.ctx_len_txt} if config.prefix == "text" else {}
    hparams |= {"n_classes": config.n_classes} if config.prefix == "class" else {}
    return {
        "type": _type(config),
        **sizes,
        "vocab_size_txt": config.vocab_size_txt,
        "ratio_bot2top": config.ratio**2,
        "use_cls_cond": config.prefix == "class",
        "use_txt_cond": config.prefix == "text",
        **{name: getattr(config, name) for name in ("weight_bottom", "weight_img", "weight_txt")},
        "temp_soft_labels": config.temp_soft_labels,
        "hparams": hparams,
        "hparams_dec": asdict(config.head),
    }


def _type(config: HQTransformerConfig) -> str:
    kinds = {"causal": "", "multilevel": ""}
    number = kinds.get(config.drawing, str(config.ratio**2))
    names = [name for name, drawing in HQ_TYPES.items() if drawing == config.drawing]
    return next(name for name in names if name.endswith(number))
