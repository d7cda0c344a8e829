from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from models.configs.enhancement import Enhancement
from models.configs.transformer import StackConfig
from models.configs.upsamplers import CellUpsamplerConfig
from models.drawing.sampling import RowParams
from models.enhancer import random_upsampler
from models.errors import (
    CheckpointError,
    ConfigError,
    HashMismatchError,
    KeyMismatchError,
    MissingFileError,
)
from models.files import enhance_folder, fingerprint
from models.files.checkpoint import load_stage1, load_upsampler, open_checkpoint
from models.files.convert import FolderInUseError, convert
from models.pipeline import load
from models.presets.register import get_preset
from tests.models.random_checkpoint import tiny_with_words, write_random_checkpoint


def _enhancement() -> Enhancement:
    found = get_preset("tiny-enhance").enhancement
    assert found is not None
    return found


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document))


def _codec(folder: Path) -> nn.Module:
    return load_stage1(open_checkpoint(folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of tiny's shapes, in the official layout, with an enhancement."""
    target = tmp_path / "model"
    write_random_checkpoint(target, tiny_with_words())
    own = _enhancement()
    weights = random_upsampler(own, 3).state_dict()
    enhance_folder.save(target / "finer", own, weights.items(), source={"trained by": "a test"})
    _edit(target / "config.yaml", lambda document: document.update(enhance="finer"))
    return target


def test_it_reads_as_it_was_written(folder: Path) -> None:
    preset = open_checkpoint(folder).preset
    assert preset.enhancement == replace(_enhancement(), folder="finer")
    module = load_upsampler(open_checkpoint(folder), _codec(folder))
    assert module is not None
    expected = random_upsampler(_enhancement(), 3).state_dict()
    assert module.state_dict().keys() == expected.keys()
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, expected[name])


def test_a_folder_without_one_has_no_upsampler(folder: Path) -> None:
    _edit(folder / "config.yaml", lambda document: document.pop("enhance"))
    checkpoint = open_checkpoint(folder)
    assert checkpoint.preset.enhancement is None
    assert load_upsampler(checkpoint, _codec(folder)) is None


def test_it_is_over_the_codec_that_it_was_trained_over(folder: Path, tmp_path: Path) -> None:
    """Known by its weights: not by its files, nor by the type that they are stored in."""
    codec = _codec(folder)
    own = fingerprint.of(codec.state_dict().items())
    assert own == fingerprint.of((name, t.half()) for name, t in codec.state_dict().items())
    shutil.rmtree(folder / "finer")
    told = replace(_enhancement(), codec_sha256=own, is_mean=True)
    enhance_folder.save(folder / "finer", told, random_upsampler(told, 3).state_dict().items())
    assert open_checkpoint(folder).preset.enhancement == replace(told, folder="finer")
    convert(folder, tmp_path / "converted")
    for at in (folder, tmp_path / "converted"):
        assert load("tiny", at).enhancer is not None
    write_random_checkpoint(tmp_path / "other", tiny_with_words(), seed=1)
    shutil.copyfile(tmp_path / "other/stage1_last.ckpt", folder / "stage1_last.ckpt")
    with pytest.raises(ConfigError, match=r"finer/config.yaml: codec_sha256: .* another codec"):
        load("tiny", folder)


def test_it_can_be_there_and_off(folder: Path) -> None:
    _edit(folder / "finer/config.yaml", lambda document: document.update(default=False))
    enhancement = open_checkpoint(folder).preset.enhancement
    assert enhancement is not None
    assert not enhancement.is_default


def test_the_pipeline_has_it_and_a_converted_folder_is_the_same_model(
    folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "converted"
    converted = convert(folder, target)
    assert converted.preset == open_checkpoint(folder).preset
    codes = torch.randint(64, (1, 16, 1), generator=torch.Generator().manual_seed(0))
    first, second = (load("tiny", at) for at in (folder, target))
    rows = [RowParams(4)]
    assert torch.equal(first.enhanced(codes, rows), second.enhanced(codes, rows))
    assert not torch.equal(first.enhanced(codes, rows), first.pixels(codes))
    (target / "finer/enhance-00000.safetensors").write_bytes(b"changed")
    with pytest.raises(CheckpointError):
        open_checkpoint(target, verify_sha256=True)


def test_a_damaged_one_is_not_converted(folder: Path, tmp_path: Path) -> None:
    path = folder / "finer/enhance-00000.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(HashMismatchError):
        convert(folder, tmp_path / "converted")


def test_a_missing_folder_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "finer")
    with pytest.raises(MissingFileError, match=r"there is no folder .*finer"):
        open_checkpoint(folder)


@pytest.mark.parametrize("name", ["../finer", "/finer"])
def test_it_lies_inside_the_checkpoint(folder: Path, name: str) -> None:
    _edit(folder / "config.yaml", lambda document: document.update(enhance=name))
    with pytest.raises(ConfigError, match="not inside the checkpoint"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"type": "columns"}, "type: 'columns' is not supported, only cells"),
        ({"default": 1}, "default: "),
        ({"colour": 1}, "unknown key: colour"),
        ({"sampling": {"top_k": 49}}, r"sampling.top_k: must be in 1\.\.48"),
        ({"sampling": {"warmth": 1}}, "unknown key: sampling.warmth"),
        ({"sampling": {"mean": 1}}, "sampling.mean: "),
        ({"sampling": {"temperature": 0.0}}, "sampling.temperature"),
    ],
)
def test_a_wrong_document_is_told_by_its_key(
    folder: Path, change: dict[str, Any], complaint: str
) -> None:
    _edit(folder / "finer/config.yaml", lambda document: document.update(change))
    with pytest.raises(ConfigError, match=f"finer/config.yaml: {complaint}"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"num_steps": 64, "ratio": 1}, "shape.ratio: must be 2"),
        ({"num_steps": 15}, "shape.num_steps: 15 is no square"),
        ({"ratio": 4}, "shape.codec: makes 8 positions a side of 16"),
        ({"num_steps": 4, "ratio": 4}, "shape.num_steps: 4 does not fit stage 1, which has 16"),
        ({"coarse_sizes": [65]}, r"shape.coarse_sizes: \(65,\) does not fit stage 1"),
        ({"coarse_sizes": [64, 64]}, "shape.coarse_sizes: "),
        ({"coarse_sizes": []}, "shape.coarse_sizes: at least one"),
        ({"n_embed": 0}, "shape.n_embed"),
        ({"depth": 3}, "unknown key: shape.depth"),
    ],
)
def test_a_shape_that_does_not_fit_is_told_by_its_key(
    folder: Path, change: dict[str, Any], complaint: str
) -> None:
    _edit(folder / "finer/config.yaml", lambda document: document["shape"].update(change))
    with pytest.raises(ConfigError, match=complaint):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("shape", "complaint"),
    [
        (CellUpsamplerConfig(body=StackConfig(30, 1, 4)), "head.embed_dim: must equal the body's"),
        (
            CellUpsamplerConfig(body=StackConfig(30, 1, 4), head=StackConfig(30, 1, 3)),
            "body.n_heads: must divide",
        ),
    ],
)
def test_stacks_that_can_not_be_built(shape: CellUpsamplerConfig, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        enhance_folder.check(shape, "shape")


def test_a_codec_whose_codes_come_in_another_order() -> None:
    shape, codec = _enhancement(), get_preset("tiny").stage1
    enhance_folder.check_fits(shape, codec)
    with pytest.raises(ConfigError, match="spiral-out order"):
        enhance_folder.check_fits(shape, replace(codec, order="spiral-out"))


def test_weights_of_another_shape_are_listed(folder: Path) -> None:
    _edit(folder / "finer/config.yaml", lambda document: document["shape"].update(n_embed=50))
    with pytest.raises(KeyMismatchError, match=r"codec.quantize.embedding.weight: 48×6"):
        load("tiny", folder)


def test_a_folder_in_use_is_left_alone(folder: Path) -> None:
    before = sorted(path.name for path in (folder / "finer").iterdir())
    with pytest.raises(FolderInUseError):
        enhance_folder.save(folder / "finer", _enhancement(), [])
    assert sorted(path.name for path in (folder / "finer").iterdir()) == before
