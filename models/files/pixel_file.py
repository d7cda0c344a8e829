"""One file for a whole pixel model: `{"config", "state_dict"}`, the reference's names in both.

Which family it is, the config's own keys tell. A checkpoint folder holds it as model.pt. Builds
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.configs.pixels import (
    GatedPixelCNNConfig,
    ImageTransformerConfig,
    PixelCNNConfig,
    PixelCNNPPConfig,
    PixelPriorConfig,
    codec_for,
)
from models.configs.preset import Preset, SamplingDefaults
from models.errors import ConfigError, KeyMismatchError, KeyReport, Shape
from models.files import pixel_config
from models.files.checked import checked
from models.files.pickles import load_pickle
from models.lookalikes import CONFIG_NAME

MODEL_FILE = "model.pt"
# A key that only this family's configs have.
_KINDS: dict[str, type[PixelPriorConfig]] = {
    "num_blocks": PixelCNNConfig,
    "hidden_fmaps": GatedPixelCNNConfig,
    "nr_resnet": PixelCNNPPConfig,
    "nlayers": ImageTransformerConfig,
}
_HEADS = {"cat": "categorical", "dmol": "mixture"}


class NoWeights:
    """The `WeightSource` of a stage without weights."""

    def check(self, needed: dict[str, Shape]) -> None:
        """See WeightSource."""
        report = KeyReport.compare(needed, {})
        if not report.is_clean:
            raise KeyMismatchError("nothing", report)

    def tensors(
        self, needed: dict[str, Shape], device: torch.device, dtype: torch.dtype | None
    ) -> Iterator[tuple[str, Tensor]]:
        """See WeightSource."""
        return iter(())


def is_checkpoint(folder: Path) -> bool:
    """Whether the folder is laid out so."""
    return (folder / MODEL_FILE).is_file() and not (folder / CONFIG_NAME).exists()


def read_preset(folder: Path) -> Preset:
    """What a checkpoint folder's model.pt says of its shape.

    Raises:
        CheckpointError: naming the file.
    """
    config = read_config(folder / MODEL_FILE)
    name, sampling = folder.resolve().name, SamplingDefaults(top_k=None, num_candidates=4)
    return Preset(name, "", "unknown", codec_for(config), config, sampling=sampling)


def read_config(path: Path) -> PixelPriorConfig:
    """The shape of the model in one file.

    Raises:
        CheckpointError: naming the file.
    """
    loaded = load_pickle(path)
    values = loaded.get("config") if isinstance(loaded, dict) else None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no config")
    kinds = [kind for key, kind in _KINDS.items() if key in values]
    if len(kinds) != 1:
        raise ConfigError(
            f"{path}: its config is of no known family: {', '.join(map(str, values))}"
        )
    try:
        config: PixelPriorConfig = checked(kinds[0], _renamed(values), "config")
        pixel_config.check(config, "config")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return config


def _renamed(values: dict[str, Any]) -> dict[str, Any]:
    """In our fields' names: a size may be one number, heads go by short names."""
    size = values.get("image_size")
    height, width = size if isinstance(size, list | tuple) and len(size) == 2 else (size, size)
    kept = {name: value for name, value in values.items() if name != "image_size"}
    head = kept.get("distr")
    if isinstance(head, str):
        kept["distr"] = _HEADS.get(head, head)
    return {**kept, "height": height, "width": width}
