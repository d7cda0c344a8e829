"""Files that hold something else than a stage; whole ones are tested with each layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.errors import KeyMismatchError
from models.files.checkpoint import load_stage2, open_checkpoint
from models.presets.register import get_preset
from tests.models.taming_folders import WEIGHTS, write_project


def test_a_file_without_anything_of_a_stage_misses_all_of_it(tmp_path: Path) -> None:
    """A project of which only the codec was kept."""
    write_project(tmp_path, get_preset("tiny-taming-class"))
    state = torch.load(tmp_path / WEIGHTS, weights_only=True)["state_dict"]
    kept = {name: state[name] for name in state if name.startswith("first_stage_model.")}
    torch.save({"state_dict": kept}, tmp_path / WEIGHTS)
    with pytest.raises(KeyMismatchError, match=r"missing +blocks\.0\.attn\.key"):
        load_stage2(open_checkpoint(tmp_path))
