"""How each family's shape is written down in its section of config.yaml.

A reader and a writer per dataclass; a new family brings its own pair. minDALL-E keeps some fields
in the section and the others in its `hparams`, and has keys that no shape needs. Knows no files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from math import isqrt
from typing import Any, Literal, TypeVar

from models.configs import CodecConfig, Count, PriorConfig, Size, TransformerConfig, VQGANConfig
from models.errors import ConfigError
from models.files.checked import checked

Section = dict[str, Any]
Read = TypeVar("Read")

_VQGAN_OUTER = ("embed_dim", "n_embed")
_DERIVED = ("prefix",)  # fields that other keys decide
_TRANSFORMER_OUTER = ("vocab_size_img", "vocab_size_txt", "use_cls_cond")


@dataclass(frozen=True, slots=True)
class _VQGANSection(VQGANConfig):
    double_z: Literal[False] = False


@dataclass(frozen=True, slots=True)
class _TransformerSection(TransformerConfig):
    n_classes: Count | None = None  # type: ignore[assignment]  # null in the file, 0 in the shape
    n_dense_layers: Size | None = None
    use_head_txt: Any = True  # the reference never reads it
    use_cls_cond: bool | None = None


def read_vqgan(section: Section, path: str) -> VQGANConfig:
    """A VQGAN, of type `vqgan`."""
    read = _read(_VQGANSection, section, path, _VQGAN_OUTER)
    multiple = 2 ** (len(read.ch_mult) - 1) * read.patch_size
    widths = [read.ch * mult for mult in (1, *read.ch_mult)]
    _require(
        read.resolution % multiple == 0, f"{path}.hparams.resolution: no multiple of {multiple}"
    )
    _require(
        all(width % read.norm_groups == 0 for width in widths),
        f"{path}.hparams.ch: widths must be multiples of {read.norm_groups}",
    )
    return VQGANConfig(**_values(read, VQGANConfig))


def write_vqgan(config: VQGANConfig) -> Section:
    """The section that `read_vqgan` reads."""
    values = asdict(config)
    values |= {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
    outer = {name: values.pop(name) for name in _VQGAN_OUTER}
    return {"type": "vqgan", **outer, "hparams": {"double_z": False, **values}}


def read_transformer(section: Section, path: str, codec: CodecConfig) -> TransformerConfig:
    """A transformer over codes, of type `transformer1d` with a text before them, else `igpt`."""
    read = _read(_TransformerSection, section, path, _TRANSFORMER_OUTER)
    _check_transformer(read, path, codec)
    values = _values(read, TransformerConfig)
    if section.get("type") != "igpt":
        return TransformerConfig(**values | {"n_classes": 0})
    has_classes = bool(read.use_cls_cond)
    _require(
        bool(read.n_classes) or not has_classes,
        f"{path}.hparams.n_classes: needed where use_cls_cond is true",
    )
    values |= {
        "prefix": "class" if has_classes else "none",
        "n_classes": read.n_classes if has_classes else 0,
        "vocab_size_txt": 0,
        "ctx_len_txt": 0,
    }
    return TransformerConfig(**values)


def _check_transformer(read: _TransformerSection, path: str, codec: CodecConfig) -> None:
    hparams, (num_codes, depth) = f"{path}.hparams", codec.code_shape
    side = isqrt(num_codes)
    grid = f"{side}×{side}" if side**2 == num_codes else str(num_codes)
    _require(
        read.n_dense_layers in (None, read.n_layers),
        f"{hparams}.n_dense_layers: must equal n_layers",
    )
    _require(read.embed_dim % read.n_heads == 0, f"{hparams}.n_heads: must divide embed_dim")
    _require(
        (read.ctx_len_img, 1) == (num_codes, depth),
        f"{hparams}.ctx_len_img: {read.ctx_len_img} codes for a stage 1 that makes {grid}"
        + (f" of {depth} each" if depth > 1 else ""),
    )
    _require(
        read.vocab_size_img <= codec.vocab_sizes[0],
        f"{path}.vocab_size_img: {read.vocab_size_img} for a codebook of {codec.vocab_sizes[0]}",
    )


def write_transformer(config: TransformerConfig) -> Section:
    """The section that `read_transformer` reads."""
    values = asdict(config)
    prefix, num_tokens = values.pop("prefix"), values.pop("vocab_size_txt")
    is_text = prefix == "text"
    out: Section = {
        "type": "transformer1d" if is_text else "igpt",
        "vocab_size_img": values.pop("vocab_size_img"),
    }
    out |= {"vocab_size_txt": num_tokens} if is_text else {"use_cls_cond": prefix == "class"}
    if not is_text:
        del values["ctx_len_txt"]
    if prefix != "class":
        del values["n_classes"]
    return out | {"hparams": {**values, "n_dense_layers": config.n_layers}}


def _read(shape: type[Read], section: Section, path: str, outer: tuple[str, ...]) -> Read:
    """Check a section whose `outer` fields stand in it and all others in its `hparams`."""
    hparams = section.get("hparams") or {}
    _require(isinstance(hparams, dict), f"{path}.hparams: must be a mapping")
    here = {key: section[key] for key in section if key not in ("type", "hparams")}
    values: Section = {}
    places: dict[str, str] = {}
    for part, where, is_outer in ((here, path, True), (hparams, f"{path}.hparams", False)):
        for key, value in part.items():
            place = f"{where}.{key}"
            belongs_here = (key in outer) == is_outer and key not in _DERIVED
            name = key if belongs_here else place  # which no field is called, so it is refused
            values[name], places[name] = value, place
    return checked(shape, values, path, places)


def _values(read: Any, shape: type[Any]) -> dict[str, Any]:
    """Those of the fields that the shape itself has."""
    return {field.name: getattr(read, field.name) for field in fields(shape)}


def _require(is_kept: bool, message: str) -> None:
    if not is_kept:
        raise ConfigError(message)


def written(config: CodecConfig | PriorConfig) -> Section:
    """The section of config.yaml that reads as this shape.

    Raises:
        ConfigError: its family has none.
    """
    if type(config) not in _WRITERS:
        raise ConfigError(f"models of {type(config).__name__} have no config.yaml")
    return _WRITERS[type(config)](config)


# By what `families` registers under a section's type. Any: each takes or makes its own kind.
CODEC_READERS: dict[type[CodecConfig], Callable[[Section, str], Any]] = {VQGANConfig: read_vqgan}
PRIOR_READERS: dict[type[PriorConfig], Callable[[Section, str, CodecConfig], Any]] = {
    TransformerConfig: read_transformer
}
_WRITERS: dict[type[Any], Callable[[Any], Section]] = {
    VQGANConfig: write_vqgan,
    TransformerConfig: write_transformer,
}
