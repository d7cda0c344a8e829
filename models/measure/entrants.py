"""Which models are measured: presets by name and checkpoint folders, loaded when they are needed.

Knows no figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from models.configs.no_prior import NoPriorConfig
from models.configs.preset import Preset
from models.errors import ConfigError
from models.families import as_codec
from models.files import checkpoint as checkpoints
from models.files.checkpoint import open_checkpoint
from models.files.digest import weights_digest
from models.pipeline import LoadOptions, Pipeline, load
from models.presets.register import get_preset, weights_folder
from models.stage1.codec import Codec


@dataclass(frozen=True, slots=True)
class Entrant:
    """One model. `folder` is None where it has random weights."""

    name: str
    preset: Preset
    folder: Path | None

    @property
    def digest(self) -> str:
        """Tells its weights from others, also from those that its folder had before."""
        return weights_digest(self.preset, self.folder, with_times=True)

    @property
    def draws(self) -> bool:
        """False for a codec alone."""
        return not isinstance(self.preset.stage2, NoPriorConfig)

    def load(self, options: LoadOptions) -> Pipeline:
        """All of it. CheckpointError as `pipeline.load`."""
        return load(self.name, self.folder, options)

    def codec(self, options: LoadOptions) -> Codec:
        """Stage 1 alone."""
        if self.folder is None:
            return self.load(options).stage1
        opened = open_checkpoint(self.folder, codec_alone=True)
        module = checkpoints.load_stage1(opened, options.device, torch.float32)
        codec = as_codec(module.eval().requires_grad_(False))
        codec.prepare()
        return codec


def find(models: Sequence[str], checkpoint: Path | None = None) -> list[Entrant]:
    """The models by name or folder; `checkpoint` is the folder of the only one, named or not.

    Raises:
        UnknownPresetError, CheckpointError: there is no such model, or a folder for several.
    """
    if checkpoint is not None:
        if len(models) > 1:
            raise ConfigError("--checkpoint: is the folder of one model; name several by theirs")
        return [_in_folder(checkpoint, *models)]
    entrants = [_find(model) for model in models]
    names = [entrant.name for entrant in entrants]
    # Folders that are called alike are told apart by their whole paths.
    return [
        s if names.count(s.name) == 1 else Entrant(model, s.preset, s.folder)
        for s, model in zip(entrants, models, strict=True)
    ]


def _find(model: str) -> Entrant:
    path = Path(model).expanduser()
    if path.is_dir():
        return _in_folder(path)
    preset = get_preset(model)
    return Entrant(model, preset, weights_folder(preset))


def _in_folder(folder: Path, name: str | None = None) -> Entrant:
    """A model, or a codec alone; called as its folder where it has no other name."""
    preset = open_checkpoint(folder, codec_alone=True).preset
    return Entrant(name or folder.resolve().name, preset, folder)
