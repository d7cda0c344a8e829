"""The folder of an enhancement, inside a checkpoint's: config.yaml, shards and their manifest.

The checkpoint's config.yaml names it (`enhance: FOLDER`). Its own says the
upsampler's `type` and `shape`, whether requests that don't say are enhanced (`default`), how finer
codes are drawn (`sampling`), and over which codec it was trained (`codec_sha256`, see
`fingerprint`). Folders that don't tell the last are taken at their word.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from math import isqrt
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from models.configs.codec import CodecConfig
from models.configs.enhancement import Enhancement, UpsamplerConfig
from models.configs.upsamplers import CellUpsamplerConfig
from models.configs.vqgan import VQGANConfig
from models.drawing.sampling import InvalidSamplingError, RowParams
from models.errors import ConfigError, MissingFileError
from models.families import UPSAMPLERS, build_upsampler, upsampler_type
from models.files import fingerprint, shards
from models.files.checked import checked
from models.files.documents import yaml_in
from models.files.new_folder import new_folder
from models.files.sections import check_backbone, check_inside, require
from models.files.weights import fill, on_meta
from models.lookalikes import CONFIG_NAME

_STAGE = "enhance"


@dataclass(frozen=True, slots=True)
class _Sampling:
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    mean: bool = False


@dataclass(frozen=True, slots=True)
class _Document:
    """Any: those are checked in turn, the shape when its type is known."""

    type: str
    shape: Any = None
    default: bool = True
    sampling: Any = None
    codec_sha256: str = ""


def read(checkpoint: Path, name: str, codec: CodecConfig) -> Enhancement:
    """The enhancement in a folder below a checkpoint's, for the codes of its codec.

    Raises:
        MissingFileError: there is no such folder, or no config.yaml in it.
        ConfigError: naming the file and the key, or what does not fit the codec.
    """
    check_inside(name, "enhance")
    folder = checkpoint / name
    if not folder.is_dir():
        raise MissingFileError(f"enhance: there is no folder {folder}")
    try:
        enhancement = replace(noted(folder), folder=name)
        check_fits(enhancement, codec)
    except ConfigError as error:
        raise ConfigError(f"{folder / CONFIG_NAME}: {error}") from error
    return enhancement


def noted(folder: Path) -> Enhancement:
    """What a folder's config.yaml says, whatever else it holds; it may be a training run's.

    Raises:
        MissingFileError, ConfigError: as `read`.
    """
    return _parsed(yaml_in(folder / CONFIG_NAME))


def is_noted(folder: Path) -> bool:
    """Whether the folder has such a file."""
    return (folder / CONFIG_NAME).is_file()


def note(folder: Path, enhancement: Enhancement) -> None:
    """Write that config.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(document(enhancement), sort_keys=False)
    (folder / CONFIG_NAME).write_text(text, encoding="utf-8")


def _parsed(document: Any) -> Enhancement:
    given = checked(_Document, document or {})
    if given.type not in UPSAMPLERS:
        known = " or ".join(UPSAMPLERS)
        raise ConfigError(f"type: {given.type!r} is not supported, only {known}")
    shape = checked(UPSAMPLERS[given.type].config, given.shape or {}, "shape")
    check(shape, "shape")
    how = checked(_Sampling, given.sampling or {}, "sampling")
    try:
        RowParams(0, 0, how.temperature, how.top_k, how.top_p).validate([shape.vocab_size])
    except InvalidSamplingError as error:
        raise ConfigError(f"sampling.{error}") from None
    return Enhancement(
        shape,
        is_default=given.default,
        temperature=how.temperature,
        top_k=how.top_k,
        top_p=how.top_p,
        is_mean=how.mean,
        codec_sha256=given.codec_sha256,
    )


def check(shape: UpsamplerConfig, path: str) -> None:
    """ConfigError where the numbers of a shape, which stand at `path`, contradict each other."""
    if isinstance(shape, CellUpsamplerConfig):
        _check_cells(shape, path)


def _check_cells(shape: CellUpsamplerConfig, path: str) -> None:
    codec, side = shape.codec, isqrt(shape.num_steps)
    require(side**2 == shape.num_steps, f"{path}.num_steps: {shape.num_steps} is no square")
    require(shape.ratio > 1, f"{path}.ratio: must be 2 or more")
    require(bool(shape.coarse_sizes), f"{path}.coarse_sizes: at least one")
    check_backbone(codec, f"{path}.codec")
    require(
        codec.grid_size == shape.finer_side,
        f"{path}.codec: makes {codec.grid_size} positions a side of {shape.finer_side} codes",
    )
    require(codec.in_channels == codec.out_ch, f"{path}.codec.out_ch: must equal in_channels")
    widths = {shape.body.embed_dim, shape.head.embed_dim}
    require(len(widths) == 1, f"{path}.head.embed_dim: must equal the body's")
    for name, stack in (("body", shape.body), ("head", shape.head)):
        is_whole = stack.embed_dim % stack.n_heads == 0
        require(is_whole, f"{path}.{name}.n_heads: must divide embed_dim")


def check_fits(enhancement: Enhancement, codec: CodecConfig) -> None:
    """ConfigError unless the upsampler reads the codes that this codec's pictures are made of."""
    shape = enhancement.shape
    order = codec.order if isinstance(codec, VQGANConfig) else "raster"
    require(order == "raster", f"shape: stage 1's codes come in {order} order, not line by line")
    for what, own, its in (
        ("coarse_sizes", shape.coarse_sizes, codec.vocab_sizes),
        ("num_steps", shape.coarse_shape[0], codec.code_shape[0]),
        ("codec.resolution", shape.size, codec.size),
    ):
        require(own == its, f"shape.{what}: {own} does not fit stage 1, which has {its}")


def check_codec(enhancement: Enhancement, found: str) -> None:
    """ConfigError where it was trained over another codec than the one of this fingerprint."""
    told = enhancement.codec_sha256
    require(
        told in ("", found),
        f"codec_sha256: it was trained over another codec ({told[:12]}…) than this checkpoint's"
        f" ({found[:12]}…); take the one that belongs to it, or train it over this one",
    )


def document(enhancement: Enhancement) -> dict[str, Any]:
    """The config.yaml that reads as this, but for the folder's name."""
    own = enhancement
    sampling = _Sampling(own.temperature, own.top_k, own.top_p, own.is_mean)
    return {
        "type": upsampler_type(enhancement.shape),
        "default": enhancement.is_default,
        "sampling": asdict(sampling),
        **({"codec_sha256": enhancement.codec_sha256} if enhancement.codec_sha256 else {}),
        "shape": json.loads(json.dumps(asdict(enhancement.shape))),  # lists, as YAML has no tuples
    }


def save(
    folder: Path,
    enhancement: Enhancement,
    tensors: Iterable[tuple[str, Tensor]],
    dtype: torch.dtype | None = None,
    *,
    source: Mapping[str, object] | None = None,
) -> None:
    """Write such a folder, complete or not at all; FolderInUseError where it holds something.

    `tensors` are the upsampler's state dict items; `source` says where they come from.
    """
    with new_folder(folder, dtype) as writer:
        note(writer.folder, enhancement)
        writer.record(CONFIG_NAME)
        writer.write_stage(_STAGE, tensors)
        writer.finish(dict(source or {}))


def files(folder: Path, name: str) -> dict[str, Path]:
    """All files of it by what they are called in a checkpoint whose folder of this name it becomes.

    Raises:
        CheckpointError: one is missing or damaged.
    """
    shards.verify(folder)
    found = [shards.MANIFEST_NAME, *shards.read_manifest(folder)["sha256"]]
    return {f"{name}/{file}": folder / file for file in found}


def load(
    checkpoint: Path, enhancement: Enhancement, codec: nn.Module, device: torch.device | str
) -> nn.Module:
    """The upsampler with its weights, frozen and in evaluation mode, in float32.

    Raises:
        CheckpointError: a file is missing or damaged, or does not fit the config; or it was
            trained over another codec than this.
    """
    if enhancement.codec_sha256:
        try:
            check_codec(enhancement, fingerprint.of(codec.state_dict().items()))
        except ConfigError as error:
            at = checkpoint / enhancement.folder / CONFIG_NAME
            raise ConfigError(f"{at}: {error}") from None
    upsampler = on_meta(lambda: build_upsampler(enhancement.shape))
    source = shards.ShardedWeights(checkpoint / enhancement.folder, _STAGE)
    fill(upsampler, source, device, torch.float32)
    return upsampler
