"""How a DALL-E's shape is written: our section of config.yaml, and ru-DALL-E's config.json.

Of ru-DALL-E's keys those are read that make the shape; those of training are passed over, and one
that nobody knows is an error. Knows no files.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from models.configs.codec import CodecConfig
from models.configs.dalle import DalleConfig, ru_dalle_masks
from models.configs.numbers import Size
from models.files.checked import checked
from models.files.sections import plain, require
from models.presets.dalle import second_version

Version = Literal["v2", "v3"]


@dataclass(frozen=True, slots=True)
class RuDalleDocument:
    """ru-DALL-E's config.json; what is missing is Malevich's.

    `name` and `hf_version` are ours: its files don't say by which of two sets of rules they were
    trained. Any: what nobody reads here.
    """

    num_layers: Size = 24
    hidden_size: Size = 2048
    num_attention_heads: Size = 16
    text_seq_length: Size = 128
    image_tokens_per_dim: Size = 32
    vocab_size: Size = 16384 + 128
    image_vocab_size: Size = 8192
    conv_kernel: Size = 11
    cogview_sandwich_layernorm: bool = True
    mlp_activation: Literal["gelu", "gelu_jit"] = "gelu_jit"
    name: str | None = None
    hf_version: Version | None = None
    cogview_pb_relax: Any = None  # which scores are subtracted before a softmax changes nothing
    cogview_layernorm_prescale: Literal[False] = False
    custom_relax: Any = None
    is_bool_mask: Any = None
    fp16: Any = None
    loss_img_weight: Any = None
    embedding_dropout_prob: Any = None
    output_dropout_prob: Any = None
    attention_dropout_prob: Any = None
    use_masks: Literal[True] = True
    architectures: Any = None
    model_type: Any = None
    torch_dtype: Any = None
    transformers_version: Any = None


def rudalle_config(given: RuDalleDocument, version: Version) -> DalleConfig:
    """The shape that ru-DALL-E's config.json describes, by the rules of a version.

    Raises:
        ConfigError: naming the key.
    """
    require(
        given.vocab_size > given.text_seq_length,
        f"vocab_size: {given.vocab_size} with a pad for each of {given.text_seq_length} positions",
    )
    config = DalleConfig(
        embed_dim=given.hidden_size,
        n_layers=given.num_layers,
        n_heads=given.num_attention_heads,
        vocab_size_txt=given.vocab_size,
        ctx_len_txt=given.text_seq_length,
        vocab_size_img=given.image_vocab_size,
        grid=(given.image_tokens_per_dim,) * 2,
        masks=ru_dalle_masks(given.num_layers),
        conv_kernel=given.conv_kernel,
        sandwich_norms=given.cogview_sandwich_layernorm,
    )
    require(config.embed_dim % config.n_heads == 0, "num_attention_heads: must divide hidden_size")
    return second_version(config) if version == "v2" else config


def read_dalle(section: dict[str, Any], path: str, codec: CodecConfig) -> DalleConfig:
    """A section of type `dalle`, over the codes of `codec`.

    Raises:
        ConfigError: naming the key.
    """
    values = {key: value for key, value in section.items() if key != "type"}
    config = checked(DalleConfig, values, path)
    rows, columns = config.grid
    require(config.embed_dim % config.n_heads == 0, f"{path}.n_heads: must divide embed_dim")
    require(bool(config.masks), f"{path}.masks: must name at least one")
    require(config.prompt_vocab_size > 0, f"{path}.vocab_size_txt: must be more than ctx_len_txt")
    require(
        (config.num_steps, 1) == codec.code_shape,
        f"{path}.grid: {rows}×{columns} for a stage 1 that makes {codec.code_shape[0]} codes",
    )
    require(
        config.vocab_size_img <= codec.vocab_sizes[0],
        f"{path}.vocab_size_img: {config.vocab_size_img} for a codebook of {codec.vocab_sizes[0]}",
    )
    return config


def write_dalle(config: DalleConfig) -> dict[str, Any]:
    """The section that `read_dalle` reads."""
    return {"type": "dalle", **plain(asdict(config))}
