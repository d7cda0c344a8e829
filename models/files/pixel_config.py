"""The pixel families' sections of config.yaml ↔ their shapes: fields by their own names, flat.

Says which values fit each other. Knows no files and no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from models.configs.codec import CodecConfig
from models.configs.pixels import (
    GatedPixelCNNConfig,
    ImageTransformerConfig,
    PixelCNNConfig,
    PixelCNNPPConfig,
    PixelPriorConfig,
    codec_for,
)
from models.configs.raw_pixels import RawPixelsConfig
from models.errors import ConfigError
from models.files.checked import checked
from models.files.sections import Section, plain

_Prior = TypeVar(
    "_Prior", PixelCNNConfig, GatedPixelCNNConfig, PixelCNNPPConfig, ImageTransformerConfig
)
_TYPES: dict[type[PixelPriorConfig], str] = {
    PixelCNNConfig: "pixel-cnn",
    GatedPixelCNNConfig: "gated-pixel-cnn",
    PixelCNNPPConfig: "pixel-cnn-pp",
    ImageTransformerConfig: "image-transformer",
}


def read_raw_pixels(section: Section, path: str) -> RawPixelsConfig:
    """A codec of type `raw-pixels`."""
    return checked(RawPixelsConfig, _without_type(section), path)


def _reader(kind: type[_Prior]) -> Callable[[Section, str, CodecConfig], Any]:
    """How a prior's section is read. Any: as `layouts` has its readers."""

    def read(section: Section, path: str, codec: CodecConfig) -> _Prior:
        config = checked(kind, _without_type(section), path)
        check(config, path)
        if codec != codec_for(config):
            raise ConfigError(
                f"{path}: draws pictures of {config.width}×{config.height} as their own values,"
                f" which takes a stage 1 of {write_raw_pixels(codec_for(config))}"
            )
        return config

    return read


def write_raw_pixels(config: RawPixelsConfig) -> Section:
    """The section that `read_raw_pixels` reads."""
    return {"type": "raw-pixels", **plain(asdict(config))}


def write_prior(config: PixelPriorConfig) -> Section:
    """The section that its reader reads."""
    return {"type": _TYPES[type(config)], **plain(asdict(config))}


def check(config: PixelPriorConfig, path: str) -> None:
    """Refuse values that don't fit each other.

    Raises:
        ConfigError: naming the key.
    """
    match config:
        case PixelCNNConfig():
            _odd(path, kernel_size_in=config.kernel_size_in, kernel_size=config.kernel_size)
            _several(path, levels=config.levels)
        case GatedPixelCNNConfig():
            _odd(path, causal_ksize=config.causal_ksize, hidden_ksize=config.hidden_ksize)
            _several(path, color_levels=config.color_levels)
            _divides(path, "hidden_fmaps", config.hidden_fmaps, config.channels)
        case PixelCNNPPConfig():
            for name in ("height", "width"):
                _divides(path, name, getattr(config, name), 2 ** (config.scales - 1))
        case ImageTransformerConfig():
            _check_transformer(config, path)


def _check_transformer(config: ImageTransformerConfig, path: str) -> None:
    _divides(path, "total_key_depth or hidden_size", config.key_depth, config.num_heads)
    _divides(path, "total_value_depth or hidden_size", config.value_depth, config.num_heads)
    if config.hidden_size < 4:
        raise ConfigError(f"{path}.hidden_size: must be at least 4, for the position signal")
    if config.attn_type == "local_1d" and not config.block_length:
        raise ConfigError(f"{path}.block_length: must be given where attn_type is local_1d")


def _odd(path: str, **sides: int) -> None:
    for name, side in sides.items():
        if side % 2 == 0:
            raise ConfigError(f"{path}.{name}: must be odd, not {side}")


def _several(path: str, **counts: int) -> None:
    for name, count in counts.items():
        if count < 2:
            raise ConfigError(f"{path}.{name}: must be at least 2, not {count}")


def _divides(path: str, name: str, value: int, divisor: int) -> None:
    if value % divisor:
        raise ConfigError(f"{path}.{name}: must be a multiple of {divisor}, not {value}")


def _without_type(section: Section) -> Section:
    return {name: value for name, value in section.items() if name != "type"}


READERS: dict[type[Any], Callable[[Section, str, CodecConfig], Any]] = {
    PixelCNNConfig: _reader(PixelCNNConfig),
    GatedPixelCNNConfig: _reader(GatedPixelCNNConfig),
    PixelCNNPPConfig: _reader(PixelCNNPPConfig),
    ImageTransformerConfig: _reader(ImageTransformerConfig),
}
