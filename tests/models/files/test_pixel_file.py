"""A folder with one model.pt of {config, state_dict}, and pixel models' own config.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from models.drawing.sampling import RowParams
from models.errors import ConfigError, KeyMismatchError
from models.files import config, pixel_file
from models.files.checkpoint import open_checkpoint
from models.files.convert import convert
from models.pipeline import load
from models.presets.register import PRESETS
from tests.models.golden import GOLDEN

_PIXELS = [name for name in PRESETS if "pixelcnn" in name or "image-transformer" in name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The gray PixelCNN++ of the recorded set, as a checkpoint."""
    saved = torch.load(GOLDEN / "pixelcnnpp" / "model_gray.pt", weights_only=True)
    (tmp_path / "gray").mkdir()
    torch.save(saved, tmp_path / "gray" / "model.pt")
    return tmp_path / "gray"


def test_it_is_drawn_with_and_converted_as_any_other(folder: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(folder, verify_sha256=True)
    assert (checkpoint.layout, checkpoint.preset.name) == ("pixels", "gray")
    assert (checkpoint.preset.size, checkpoint.preset.vocab_sizes) == ((8, 8), (256,))
    convert(folder, tmp_path / "converted")
    drawn = [
        load("", path).generate(None, [RowParams(3)])[0].pixels
        for path in (folder, tmp_path / "converted")
    ]
    assert torch.equal(drawn[0], drawn[1])


def test_weights_that_do_not_fit_are_named(folder: Path) -> None:
    saved = torch.load(folder / "model.pt", weights_only=True)
    del saved["state_dict"]["u_init.conv.bias"]
    torch.save(saved, folder / "model.pt")
    with pytest.raises(KeyMismatchError, match=r"missing      u_init\.conv\.bias"):
        load("", folder)


def test_a_config_of_something_else_is_one_clear_error(tmp_path: Path) -> None:
    torch.save({"config": {"nlayers": 1, "distr": ["cat"]}}, tmp_path / "model.pt")
    with pytest.raises(ConfigError, match=r"model\.pt: .*config\.distr"):
        pixel_file.read_preset(tmp_path)


@pytest.mark.parametrize("name", _PIXELS)
def test_a_config_yaml_reads_as_it_was_written(name: str, tmp_path: Path) -> None:
    config.write(tmp_path, PRESETS[name])
    read = config.read(tmp_path)
    assert (read.stage1, read.stage2) == (PRESETS[name].stage1, PRESETS[name].stage2)


@pytest.mark.parametrize(
    ("name", "stage2", "message"),
    [
        ("tiny-pixelcnn", {"kernel_size": 4}, r"stage2\.kernel_size: must be odd, not 4"),
        ("tiny-pixelcnn", {"levels": 1}, r"stage2\.levels: must be at least 2, not 1"),
        ("tiny-gated-pixelcnn", {"color_levels": 1}, r"color_levels: must be at least 2"),
        ("tiny-pixelcnn", {"num_heads": 4}, r"unknown key: stage2\.num_heads"),
        ("tiny-pixelcnn", {"height": 9}, "which takes a stage 1 of"),
        ("tiny-gated-pixelcnn", {"hidden_fmaps": 7}, r"stage2\.hidden_fmaps: must be a multiple"),
        ("tiny-pixelcnn++", {"width": 10}, r"stage2\.width: must be a multiple of 4, not 10"),
        ("tiny-image-transformer", {"block_length": 0}, r"stage2\.block_length: must be given"),
        ("tiny-image-transformer", {"num_heads": 3}, "must be a multiple of 3, not 16"),
    ],
)
def test_values_that_do_not_fit_each_other_are_named(
    name: str, stage2: dict[str, Any], message: str
) -> None:
    document = config.document(PRESETS[name])
    document["stage2"] |= stage2
    with pytest.raises(ConfigError, match=message):
        config.parse(document, Path("x"))
