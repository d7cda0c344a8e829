"""Which ranker a checkpoint has: CLIP for texts, a classifier for classes, or none."""

from __future__ import annotations

from pathlib import Path

import torch

from models.configs.preset import Preset
from models.rerank import classifier, clip_files
from models.rerank.classifier import Classifier
from models.rerank.clip import ClipScorer


def load(preset: Preset, folder: Path, device: torch.device) -> ClipScorer | Classifier | None:
    """Load it from the folder. Raises CheckpointError as its own `load`."""
    if preset.clip:
        return clip_files.load(preset.clip, folder, device)
    if preset.classifier and preset.num_classes:
        return classifier.load(preset.classifier, folder, preset.num_classes, device)
    return None
