"""What stands before the codes of VQ-GAN's own models must be something."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ConfigError
from models.files import config
from models.files.checkpoint import open_checkpoint
from models.presets.register import get_preset
from tests.models.taming_folders import edit, write_project

_PRESET = get_preset("tiny-taming-uncond")


def test_coordinates_are_of_cells_no_larger_than_the_picture(tmp_path: Path) -> None:
    write_project(tmp_path / "p", _PRESET)
    params = {"n_embed": 64, "down_factor": 64}
    stage = {"target": "taming.CoordStage", "params": params}
    edit(tmp_path / "p", lambda model: model.update(cond_stage_config=stage))
    with pytest.raises(ConfigError, match=r"params\.down_factor: 64 of 32 pixels a side"):
        open_checkpoint(tmp_path / "p")


def test_a_model_without_a_prompt_begins_with_a_token() -> None:
    document = config.document(_PRESET)
    document["stage2"]["hparams"]["start"] = []
    with pytest.raises(ConfigError, match=r"stage2\.hparams\.start: must name at least one token"):
        config.parse(document, Path("x"))
