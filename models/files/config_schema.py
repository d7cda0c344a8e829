"""Which keys config.yaml may have, of which type, and what stands in for a missing one.

Only the schema and its check; what the values mean together is `models.files.config`'s.
The defaults are those of the official minDALL-E 1.3B.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from models.errors import ConfigError


class Field(NamedTuple):
    """One value: its type as a word, whether null is legal, and its default."""

    kind: str  # "int" (positive), "count", "float", "bool", "str", "ints", "any", or "typename:a|b"
    default: Any = None
    is_nullable: bool = False


class Section(NamedTuple):
    """A mapping; an optional one stays away when the document has none."""

    fields: dict[str, Any]  # name → Field or Section
    is_optional: bool = False


def _anything(*names: str) -> dict[str, Any]:
    return {name: Field("any", None, True) for name in names}


_STAGE1_HPARAMS = {
    "double_z": Field("bool", False),
    "z_channels": Field("int", 256),
    "resolution": Field("int", 256),
    "in_channels": Field("int", 3),
    "out_ch": Field("int", 3),
    "ch": Field("int", 128),
    "ch_mult": Field("ints", [1, 1, 2, 2, 4]),
    "num_res_blocks": Field("int", 2),
    "attn_resolutions": Field("ints", [16]),
    "pdrop": Field("float", 0.0),
    "patch_size": Field("int", 1),
    "norm_groups": Field("int", 32),
    "norm": Field("typename:group|none", "group"),
    "use_init_downsample": Field("bool", False),
    "use_mid_block": Field("bool", True),
    "use_attn": Field("bool", True),
}
_STAGE2_HPARAMS = {
    "embed_dim": Field("int", 1536),
    "n_layers": Field("int", 42),
    "n_heads": Field("int", 24),
    "n_dense_layers": Field("int", None, True),
    "ctx_len_img": Field("int", 256),
    "ctx_len_txt": Field("count", 64),
    "embd_pdrop": Field("float", 0.0),
    "resid_pdrop": Field("float", 0.0),
    "attn_pdrop": Field("float", 0.0),
    "mlp_bias": Field("bool", True),
    "attn_bias": Field("bool", True),
    "gelu_use_approx": Field("bool", False),
    "use_head_txt": Field("any", True, True),  # the reference never reads it
    "n_classes": Field("count", None, True),
}
_DATASET = {
    **_anything("dataset", "tokenizer_type", "image_resolution", "transforms", "bpe_pdrop"),
    "context_length": Field("count", None, True),
}
_OPTIMIZER = _anything(
    "opt_type",
    "base_lr",
    "weight_decay",
    "betas",
    "grad_clip_norm",
    "sched_type",
    "max_steps",
    "min_lr",
)
_EXPERIMENT = _anything(
    "local_batch_size",
    "total_batch_size",
    "valid_batch_size",
    "epochs",
    "save_ckpt_freq",
    "test_freq",
    "use_amp",
)
_CLIP = {
    "model_name": Field("str"),
    "weights": Field("str"),
    "config": Field("str", None, True),
}
_SAMPLING = {
    "temperature": Field("float", 1.0),
    "top_k": Field("int", 256, True),
    "top_p": Field("float", None, True),
    "num_candidates": Field("int", 16),
}
_DOCUMENT = Section(
    {
        "name": Field("str", None, True),
        "description": Field("str", None, True),
        "licence": Field("str", None, True),
        "dataset": Section(_DATASET),
        "stage1": Section(
            {
                "type": Field("typename:vqgan", "vqgan"),
                "embed_dim": Field("int", 256),
                "n_embed": Field("int", 16384),
                "hparams": Section(_STAGE1_HPARAMS),
            }
        ),
        "stage2": Section(
            {
                "type": Field("typename:transformer1d|igpt", "transformer1d"),
                "vocab_size_txt": Field("count", 16384),
                "vocab_size_img": Field("int", 16384),
                "use_cls_cond": Field("bool", None, True),
                "hparams": Section(_STAGE2_HPARAMS),
            }
        ),
        "optimizer": Section(_OPTIMIZER, is_optional=True),
        "experiment": Section(_EXPERIMENT, is_optional=True),
        "clip": Section(_CLIP, is_optional=True),
        "sampling": Section(_SAMPLING, is_optional=True),
    }
)


def check(document: Any) -> dict[str, Any]:
    """Return the document with every default filled in.

    Raises:
        ConfigError: an unknown key or a value of the wrong type, by its dotted path.
    """
    return _check_section(document, _DOCUMENT, "")


def _check_section(values: Any, section: Section, path: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ConfigError(f"{path or 'the document'}: must be a mapping")
    unknown = [f"{_join(path, key)}" for key in values if key not in section.fields]
    if unknown:
        raise ConfigError(f"unknown key: {', '.join(unknown)}")
    out: dict[str, Any] = {}
    for name, rule in section.fields.items():
        value, where = values.get(name), _join(path, name)
        if isinstance(rule, Section):
            if value is not None or not rule.is_optional:
                out[name] = _check_section(value or {}, rule, where)
        else:
            out[name] = _check_field(value, rule, where) if name in values else rule.default
            if out[name] is None and not rule.is_nullable:
                raise ConfigError(f"{where}: must be given")
    return out


def _check_field(value: Any, rule: Field, where: str) -> Any:
    if rule.kind == "any" or (value is None and rule.is_nullable):
        return value
    if rule.kind.startswith("typename:"):
        allowed = rule.kind.removeprefix("typename:").split("|")
        if value not in allowed:
            raise ConfigError(f"{where}: {value!r} is not supported, only {' or '.join(allowed)}")
        return value
    if not _has_kind(value, rule.kind):
        raise ConfigError(f"{where}: {value!r} is not of type {rule.kind}")
    return float(value) if rule.kind == "float" else value


def _has_kind(value: Any, kind: str) -> bool:
    """Sizes must be positive; a YAML `1e-4`, which PyYAML reads as text, counts as a float."""
    match kind:
        case "int":
            return isinstance(value, int) and not isinstance(value, bool) and value > 0
        case "count":
            return (value == 0 and type(value) is int) or _has_kind(value, "int")
        case "float":
            return _is_number(value)
        case "bool":
            return isinstance(value, bool)
        case "str":
            return isinstance(value, str)
        case _:
            return isinstance(value, list) and all(_has_kind(item, "int") for item in value)


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and float(value) >= 0
    except (TypeError, ValueError):
        return False


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)
