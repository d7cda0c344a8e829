"""Recorded sets of pixel models: a folder of files with a model each, and one set of numbers.

Which numbers are a model's, the file's name says: those of model_gray.pt begin with `gray_`, those
of model.pt with nothing, all others with the file's name. What they are computed by is in
`of_pixels`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from models.configs.pixels import ImageTransformerConfig, PixelCNNPPConfig, PixelPriorConfig
from models.errors import CheckpointError
from models.families import build_prior
from models.files.pickles import load_pickle, read_state_dict
from models.files.pixel_file import MODEL_FILE, read_config
from models.lookalikes import CONFIG_NAME
from models.verify import of_pixel_masks, of_pixels
from models.verify.check import Result
from models.verify.pixel_model import PixelModel
from models.verify.recorded import AbsentError, Recorded

_CLASS_VECTORS = "cond.pt"  # of the model in model.pt, by the names of its blocks


def is_set(folder: Path) -> bool:
    """Whether a folder holds pixel models alone, each in a file of its own."""
    if (folder / CONFIG_NAME).exists() or not folder.is_dir():
        return False
    return bool(_files(folder))


def _files(folder: Path) -> list[Path]:
    """The files with a model in them."""
    found = []
    for path in sorted(folder.glob("*.pt")):
        with suppress(CheckpointError):
            read_config(path)
            found.append(path)
    return found


def results(folder: Path, recorded: Recorded) -> Iterator[Result]:
    """Everything that the set holds of the folder's models.

    Raises:
        CheckpointError: a file can't be used.
    """
    for path in _files(folder):
        model = _model(path, recorded)
        yield from of_pixels.results(model)
        for other in _with_classes(folder, path, model):
            yield from of_pixels.results(other)
    yield from of_pixel_masks.definitions(recorded)


def _prefix(path: Path) -> str:
    name = path.stem.removeprefix(Path(MODEL_FILE).stem).removeprefix("_")
    return f"{name}_" if name else ""


def _model(path: Path, recorded: Recorded) -> PixelModel:
    config = read_config(path)
    return PixelModel(_prefix(path), config, _filled(config, read_state_dict(path)), recorded)


def _filled(config: PixelPriorConfig, state: dict[str, Tensor]) -> nn.Module:
    module = build_prior(config, nn.Identity())
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"the weights do not fit their config: {error}") from None
    return module.eval().requires_grad_(False)


def _with_classes(folder: Path, path: Path, model: PixelModel) -> Iterator[PixelModel]:
    """The same model with a table of classes, where the set brings one."""
    config, prefix, recorded = model.config, model.prefix, model.recorded
    state, extra = model.module.state_dict(), dict[str, Tensor]()
    if isinstance(config, PixelCNNPPConfig) and path.name == MODEL_FILE:
        beside = folder / _CLASS_VECTORS
        if beside.is_file():
            config = replace(config, n_classes=load_pickle(beside)["config"]["n_classes"])
            extra, prefix = read_state_dict(beside), "cond_"
    if isinstance(config, ImageTransformerConfig):
        with suppress(AbsentError):
            extra = {"label_embedding.weight": recorded.tensor(f"{prefix}cls_emb")}
            config = replace(config, n_classes=len(extra["label_embedding.weight"]))
    if extra:
        images = model.images_name
        inner = prefix if prefix == "cond_" else f"{prefix}cls_"
        with torch.no_grad():
            yield PixelModel(inner, config, _filled(config, state | extra), recorded, images)
