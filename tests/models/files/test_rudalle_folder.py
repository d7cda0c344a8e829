from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from models.configs.dalle import DalleConfig
from models.drawing.sampling import RowParams
from models.errors import CheckpointError, ConfigError, KeyMismatchError, MissingFileError
from models.families import build_codec, build_prior, upstream_shapes
from models.files import config
from models.files.checkpoint import load_stage1, load_stage2, load_tokenizer, open_checkpoint
from models.files.convert import convert
from models.files.weights import on_meta, shapes
from models.pipeline import load
from models.presets.dalle import DALLE_PRESETS, second_version
from models.presets.register import get_preset
from models.stage2.dalle import Dalle
from tests.models.golden import GOLDEN
from tests.models.random_rudalle_checkpoint import (
    CODEC_CONFIG,
    CODEC_FILE,
    small_malevich,
    write_random_rudalle,
)

SMALL = small_malevich(layers=4, side=4, text=8)


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rudalle") / "Small"
    write_random_rudalle(folder, SMALL)
    return folder


@pytest.fixture
def folder(official: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(official, tmp_path / "Small"))


def _say(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _stage2(folder: Path) -> DalleConfig:
    read = open_checkpoint(folder).preset.stage2
    assert isinstance(read, DalleConfig)
    return read


@pytest.mark.parametrize("preset", DALLE_PRESETS, ids=lambda preset: preset.name)
def test_a_written_config_reads_the_same(preset: Any, tmp_path: Path) -> None:
    config.write(tmp_path, preset)
    read = config.read(tmp_path)
    assert (read.stage1, read.stage2, read.sampling, read.name, read.licence) == (
        preset.stage1,
        preset.stage2,
        preset.sampling,
        preset.name,
        preset.licence,
    )


def test_malevich_has_its_1_310_410_880_numbers_in_395_tensors() -> None:
    preset = get_preset("rudalle-malevich")
    stage2 = on_meta(lambda: build_prior(preset.stage2, build_codec(preset.stage1)))
    theirs = upstream_shapes(preset.stage2, shapes(stage2))
    assert len(theirs) == 395
    assert sum(parameter.numel() for parameter in stage2.parameters()) == 1_310_410_880
    assert theirs["to_logits.1.weight"] == (24704, 2048)


def test_the_official_files_are_one_model(official: Path) -> None:
    opened = open_checkpoint(official, verify_sha256=True)
    assert (opened.layout, opened.weight_files) == ("rudalle", (CODEC_FILE, "pytorch_model.bin"))
    assert (opened.preset.stage1, opened.preset.stage2) == (SMALL.stage1, SMALL.stage2)
    assert (opened.preset.name, opened.preset.licence) == ("Small", "unknown")
    assert opened.preset.sampling.top_k == 64
    stage2 = load_stage2(opened)
    assert isinstance(stage2, Dalle)
    state = torch.load(official / "pytorch_model.bin", weights_only=True)
    joined = torch.cat((stage2.head_txt.weight, stage2.head.weight))
    assert torch.equal(joined, state["to_logits.1.weight"])
    tokenizer = load_tokenizer(opened)
    assert tokenizer is not None
    assert tokenizer.encode("кот на окне")[0] == [2, 83, 37, 82, 3, 0, 0, 0]


def test_a_converted_folder_draws_the_same(official: Path, tmp_path: Path) -> None:
    convert(official, tmp_path / "converted")
    names = {path.name for path in (tmp_path / "converted" / "tokenizer").iterdir()}
    assert names == {"bpe.model"}
    first, second = (load("", path) for path in (official, tmp_path / "converted"))
    rows = [RowParams(5, candidate) for candidate in range(2)]
    drawn = [pipeline.generate("кот на окне", rows) for pipeline in (first, second)]
    for one, other in zip(*drawn, strict=True):
        assert torch.equal(one.pixels, other.pixels)
        assert one.score == other.score
    scores = [picture.score or 0 for picture in drawn[0]]
    assert scores == sorted(scores, reverse=True)
    assert max(scores) < -1


@pytest.mark.parametrize(
    ("folder_name", "file_name", "said", "is_second"),
    [
        ("Small", "pytorch_model.bin", None, False),
        ("Small", "pytorch_model_v3.bin", None, False),
        ("Small", "pytorch_model_v2.bin", None, True),
        ("rudalle-Emojich", "pytorch_model.bin", None, True),
        ("rudalle-Emojich", "pytorch_model.bin", "v3", False),
        ("Small", "pytorch_model.bin", "v2", True),
        ("rudalle-Malevich", "pytorch_model_v2.bin", "v3", False),
    ],
)
def test_which_rules_it_was_trained_by(
    official: Path,
    tmp_path: Path,
    folder_name: str,
    file_name: str,
    said: str | None,
    is_second: bool,
) -> None:
    folder = Path(shutil.copytree(official, tmp_path / folder_name))
    (folder / "pytorch_model.bin").rename(folder / file_name)
    if said:
        _say(folder, hf_version=said)
    assert isinstance(SMALL.stage2, DalleConfig)
    assert _stage2(folder) == (second_version(SMALL.stage2) if is_second else SMALL.stage2)


def test_without_descriptions_it_is_a_released_one(official: Path, tmp_path: Path) -> None:
    for folder_name, file_name, preset in (
        ("anything", "pytorch_model_v3.bin", "rudalle-malevich"),
        ("anything", "pytorch_model_v2.bin", "rudalle-malevich-v2"),
        ("rudalle-Emojich", "pytorch_model.bin", "rudalle-emojich"),
        ("rudalle-xl-surrealist", "pytorch_model.bin", "rudalle-surrealist-xl"),
    ):
        folder = tmp_path / folder_name / preset / folder_name
        folder.mkdir(parents=True)
        shutil.copyfile(official / "pytorch_model.bin", folder / file_name)
        assert open_checkpoint(folder).preset is get_preset(preset)
        with pytest.raises(KeyMismatchError, match="does not fit its config"):
            load_stage2(open_checkpoint(folder))


def test_stage_2_alone_is_read_but_serves_nothing() -> None:
    folder = GOLDEN / "rudalle"
    opened = open_checkpoint(folder)
    assert (opened.has("stage1"), opened.has("stage2")) == (False, True)
    absent = r"vqgan\.gumbelf8-sber\.model\.ckpt does not exist"
    with pytest.raises(MissingFileError, match=absent):
        load_stage1(opened)
    with pytest.raises(MissingFileError, match=absent):
        open_checkpoint(folder, verify_sha256=True)
    with pytest.raises(MissingFileError, match=r"bpe\.model does not exist"):
        load_tokenizer(opened)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_layer": 3}, "unknown key: num_layer"),
        ({"hidden_size": 33}, "num_attention_heads: must divide hidden_size"),
        ({"vocab_size": 8}, "vocab_size: 8 with a pad for each of 8 positions"),
        ({"hf_version": "v4"}, "hf_version"),
        ({"use_masks": False}, "use_masks"),
    ],
)
def test_what_a_config_may_not_say(folder: Path, values: dict[str, object], message: str) -> None:
    _say(folder, **values)
    with pytest.raises(ConfigError, match=message):
        open_checkpoint(folder)


def test_a_codec_for_another_grid_is_refused(folder: Path) -> None:
    path = folder / CODEC_CONFIG
    path.write_text(path.read_text().replace("resolution: 32", "resolution: 64"))
    with pytest.raises(ConfigError, match="makes 8×8 codes for a stage 2 of 4×4"):
        open_checkpoint(folder)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(folder: Path) -> None:
    small = replace(SMALL, stage2=replace(SMALL.stage2, vocab_size_txt=100))
    write_random_rudalle(folder, small)
    with pytest.raises(CheckpointError, match="ids up to 119, stage 2 has 92 text tokens"):
        load_tokenizer(open_checkpoint(folder))
