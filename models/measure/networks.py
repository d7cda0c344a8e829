"""Networks in whose eyes sets of pictures are compared: Inception as papers use it, or a CLIP.

Weights are local files, read as tensors alone. Knows no statistics.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from models.configs.rankers import ClipConfig
from models.errors import ConfigError
from models.files.checkpoint import open_checkpoint
from models.pictures import to_bytes
from models.rerank import clip_files
from models.rerank.clip import ClipScorer

_COUNTERS = r".*\.num_batches_tracked"  # of training
_LOGIT_SCALE = 100.0  # the most that CLIP's training allows, and where it ends


@dataclass(frozen=True, slots=True)
class Looked:
    """What a network says of pictures: features [n, E], and logits [n, C] where it has classes."""

    features: Tensor
    logits: Tensor | None


class Network(Protocol):
    """Looks at pictures in 0..1 [n, 3, H, W], n ≥ 1."""

    @property
    def name(self) -> str: ...

    def look(self, pixels: Tensor) -> Looked: ...


class ClipNetwork:
    """A CLIP's image features; its classes are names, as far as some are given."""

    def __init__(self, scorer: ClipScorer, name: str, names: Sequence[str] = ()) -> None:
        self.name = name
        self._scorer = scorer
        self._texts = [scorer.text_features(text) for text in names]

    def look(self, pixels: Tensor) -> Looked:
        """See `Network`."""
        features = self._scorer.image_features(pixels)
        if not self._texts:
            return Looked(features, None)
        return Looked(features, _LOGIT_SCALE * features @ torch.stack(self._texts).T)


class Inception:
    """torch-fidelity's Inception of 2015: 2,048 features and 1,008 logits, at any size."""

    def __init__(self, weights: Path, device: torch.device | str = "cpu") -> None:
        self.name = f"inception {weights.stem}"
        self._device = device
        self._extractor = _extractor(weights).to(device)

    @torch.inference_mode()
    def look(self, pixels: Tensor) -> Looked:
        """See `Network`; it looks at the bytes of a picture's file."""
        images = torch.from_numpy(to_bytes(pixels)).permute(0, 3, 1, 2).to(self._device)
        features, logits = self._extractor(images)
        return Looked(features.cpu(), logits.cpu())


def _extractor(weights: Path) -> torch.nn.Module:
    if not weights.is_file():
        raise ConfigError(f"{weights}: there is no such file")
    # Slow to import, and few need it; an extra brings it.
    from torch_fidelity.feature_extractor_inceptionv3 import (  # noqa: PLC0415
        FeatureExtractorInceptionV3,
    )

    # The library would unpickle whatever the file holds: it is given what was read safely.
    tensors, buffer = clip_files.read_weights(weights, _COUNTERS)[0], io.BytesIO()
    torch.save(tensors, buffer)
    buffer.seek(0)
    try:
        extractor: torch.nn.Module = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], buffer
        )
    except RuntimeError as error:
        raise ConfigError(f"{weights} holds no weights of this Inception: {error}") from None
    return extractor


def open_network(
    given: str,
    names: Callable[[], Sequence[str]] = tuple,
    device: torch.device | str = "cpu",
) -> Network:
    """`inception=FILE`, an open_clip model as `NAME=FILE`, or a checkpoint folder that has a CLIP.

    A CLIP's classes are what `names` gives.

    Raises:
        CheckpointError: it can't be read, or is none of these.
    """
    kind, is_named, file = given.partition("=")
    if not is_named:
        return ClipNetwork(clip_of(Path(given), device), f"the CLIP of {Path(given).name}", names())
    path = Path(file).expanduser()
    if kind == "inception":
        return Inception(path, device)
    scorer = clip_files.load(ClipConfig(kind, path.name), path.parent, device)
    return ClipNetwork(scorer, kind, names())


def clip_of(folder: Path, device: torch.device | str = "cpu") -> ClipScorer:
    """The CLIP in a checkpoint folder. CheckpointError where there is none."""
    preset = open_checkpoint(folder).preset
    if preset.clip is None:
        raise ConfigError(f"{folder} has no CLIP; give another folder, or NAME=FILE")
    return clip_files.load(preset.clip, folder, device)
