"""What ru-DALL-E's files call the tensors of `Dalle`. Knows no torch and opens no file."""

from __future__ import annotations

from models.configs.dalle import DalleConfig
from models.errors import Shape

_EMBEDDINGS = {
    "tok_emb_txt": "text_embeddings",
    "pos_emb_txt": "text_pos_embeddings",
    "tok_emb_img": "image_embeddings",
    "pos_emb_img.row": "image_row_embeddings",
    "pos_emb_img.column": "image_col_embeddings",
    "ln_f": "transformer.final_layernorm",
    "ln_head": "to_logits.0",
    # One layer there: the rows of text tokens, then those of image codes.
    "head_txt": "to_logits.1",
    "head": "to_logits.1",
}
_IN_BLOCK = {
    "ln1": "input_layernorm",
    "attn.qkv": "attention.query_key_value",
    "attn.proj": "attention.dense",
    "ln1_out": "before_first_addition_layernorm",
    "ln2": "post_attention_layernorm",
    "mlp.0": "mlp.dense_h_to_4h",
    "mlp.2": "mlp.dense_4h_to_h",
    "ln2_out": "before_second_addition_layernorm",
}
# Tables of who sees whom, which some files hold: they follow from the shape.
UNREAD = r"(transformer\.)?(\w+_)?mask"


def upstream_names(name: str, shape: Shape, config: DalleConfig) -> dict[str, Shape]:
    """The key and shape of the upstream tensor that holds one of ours, see `upstream_rows`."""
    module, _, leaf = name.rpartition(".")
    if module in ("head", "head_txt"):
        shape = (config.vocab_size_txt + config.vocab_size_img, *shape[1:])
    if module.startswith("blocks."):
        _, layer, part = module.split(".", 2)
        return {f"transformer.layers.{layer}.{_IN_BLOCK[part]}.{leaf}": shape}
    return {f"{_EMBEDDINGS[module]}.{leaf}": shape}


def upstream_rows(name: str, config: DalleConfig) -> slice:
    """Which rows of the upstream tensor are ours."""
    if name.startswith("head_txt."):
        return slice(config.vocab_size_txt)
    if name.startswith("head."):
        return slice(config.vocab_size_txt, None)
    return slice(None)
