"""What the readers of several families' sections share: where fields stand, what shapes must keep.

Knows no family by name.
"""

from __future__ import annotations

from typing import Any

from models.configs.backbone import BackboneConfig
from models.errors import ConfigError
from models.files.inside import is_inside

Section = dict[str, Any]


def flat(
    section: Section, path: str, outer: tuple[str, ...], derived: tuple[str, ...] = ()
) -> tuple[Section, dict[str, str]]:
    """Values and places of a section whose `outer` fields stand in it, the others in `hparams`."""
    hparams = section.get("hparams") or {}
    require(isinstance(hparams, dict), f"{path}.hparams: must be a mapping")
    here = {key: section[key] for key in section if key not in ("type", "hparams")}
    values: Section = {}
    places: dict[str, str] = {}
    for part, where, is_outer in ((here, path, True), (hparams, f"{path}.hparams", False)):
        for key, value in part.items():
            place = f"{where}.{key}"
            belongs_here = (key in outer) == is_outer and key not in derived
            name = key if belongs_here else place  # which no field is called, so it is refused
            values[name], places[name] = value, place
    return values, places


def plain(values: Section) -> Section:
    """Values as YAML has them: lists for tuples."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }


def require(is_kept: bool, message: str) -> None:
    """ConfigError with the message unless the condition is kept."""
    if not is_kept:
        raise ConfigError(message)


def check_backbone(config: BackboneConfig, path: str) -> None:
    """ConfigError for an encoder and decoder, at `path`, that can't be built."""
    require(len(config.ch_mult) > 0, f"{path}.ch_mult: must name at least one level")
    require(config.in_channels == 3, f"{path}.in_channels: {config.in_channels}, pictures have 3")
    require(config.out_ch == 3, f"{path}.out_ch: {config.out_ch}, pictures have 3")
    halvings = len(config.ch_mult) - 1 + config.use_init_downsample
    multiple = 2**halvings * config.patch_size
    widths = [config.ch * mult for mult in (1, *config.ch_mult)]
    require(config.resolution % multiple == 0, f"{path}.resolution: no multiple of {multiple}")
    require(
        config.norm != "group" or all(width % config.norm_groups == 0 for width in widths),
        f"{path}.ch: widths must be multiples of {config.norm_groups}",
    )


def check_inside(name: str, path: str) -> None:
    """ConfigError where a file's name, which stands at `path`, leads out of its checkpoint."""
    require(is_inside(name), f"{path}: {name} is not inside the checkpoint's folder")
