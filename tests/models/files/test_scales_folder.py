from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from models.errors import ConfigError, MissingFileError
from models.families import build_codec, build_prior, upstream_shapes
from models.files import config
from models.files.checkpoint import load_stage1, load_stage2, open_checkpoint
from models.files.convert import convert
from models.files.layouts import written
from models.files.weights import on_meta, shapes
from models.presets.register import get_preset
from tests.models.random_values import spread_values

_PRESET = get_preset("tiny-hq-scales")
_PARTS = ("top", "bottom")


def _state(stage: str) -> dict[str, Tensor]:
    """A stage's tensors by their official names, those of stage 2 behind the name of their part."""
    codec = on_meta(lambda: build_codec(_PRESET.stage1))
    prior = on_meta(lambda: build_prior(_PRESET.stage2, codec))
    rng = torch.Generator().manual_seed(3)
    if stage == "stage1":
        return spread_values(upstream_shapes(_PRESET.stage1, shapes(codec)), rng)
    return spread_values(upstream_shapes(_PRESET.stage2, shapes(prior)), rng)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As the authors' three training runs would leave it."""
    second = _state("stage2")
    parts = {"stage1": {f"generator.{key}": value for key, value in _state("stage1").items()}}
    parts["stage1"]["discriminator.main.0.weight"] = torch.ones(2)
    parts["stage1"]["generator.quantize_t.cluster_size"] = torch.ones(64)
    sections = {"stage1": {"stage1": written(_PRESET.stage1)}}
    for part in _PARTS:
        names = [key for key in second if key.startswith(f"{part}.")]
        parts[part] = {f"stage2.{key.removeprefix(f'{part}.')}": second[key] for key in names}
        section = written(_PRESET.stage2)[part]
        sections[part] = {"stage2": section | {"type": part}}
    for part, state in parts.items():
        (tmp_path / "scales" / part / "ckpt").mkdir(parents=True)
        path = tmp_path / "scales" / part
        (path / "config.yaml").write_text(yaml.safe_dump(sections[part]))
        torch.save({"epoch": 1, "state_dict": state}, path / "ckpt" / "last.ckpt")
    return tmp_path / "scales"


def test_three_folders_are_one_model_and_convert(folder: Path, tmp_path: Path) -> None:
    source = open_checkpoint(folder)
    assert (source.layout, source.preset.name) == ("scales", "scales")
    assert (source.preset.stage1, source.preset.stage2) == (_PRESET.stage1, _PRESET.stage2)
    target = convert(folder, tmp_path / "ours")
    assert (target.preset.stage1, target.preset.stage2) == (_PRESET.stage1, _PRESET.stage2)
    for load_one in (load_stage1, load_stage2):
        before, after = load_one(source).state_dict(), load_one(target).state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
    head = load_stage2(source).state_dict()["bottom.head.weight"]
    assert torch.equal(head, _state("stage2")["bottom.head_img.weight"])


_WRONG: dict[str, tuple[str, Callable[[dict[str, Any]], None], str]] = {
    "text": ("bottom", lambda d: d["stage2"]["hparams"].update(ctx_len_txt=9), "all 16 coarse"),
    "grid": (
        "top",
        lambda d: d["stage2"]["hparams"].update(ctx_len_img=9),
        "9 codes for a stage 1",
    ),
    "size": ("bottom", lambda d: d["stage2"].update(vocab_size_img=63), "as many as the coarse"),
    "codebook": ("top", lambda d: d["stage2"].update(vocab_size_img=65), "65 for a codebook of 64"),
    "type": ("top", lambda d: d["stage2"].update(type="bottom"), "'bottom' is not top"),
    "nothing": ("top", lambda d: d.clear(), "describes no stage"),
    "width": ("stage1", lambda d: d["stage1"]["hparams"].update(z_channels=64), "before the last"),
    "smoothing": (
        "stage1",
        lambda d: d["stage1"]["hparams_aux"].update(upsample="conv2"),
        "only nearest or deconv2d",
    ),
    "sizes": ("stage1", lambda d: d["stage1"].update(n_embed=[64, 64]), "one size for both"),
}


@pytest.mark.parametrize("case", _WRONG)
def test_a_wrong_config_is_one_clear_error(case: str, folder: Path) -> None:
    part, change, message = _WRONG[case]
    path = folder / part / "config.yaml"
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigError, match=message) as caught:
        open_checkpoint(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", _PARTS)
@pytest.mark.parametrize("kind", ["mingpt", "dalle", 3])
def test_a_part_is_a_transformer_of_codes_alone(part: str, kind: object) -> None:
    """minGPT's logits are of prompts, too."""
    document = config.document(_PRESET)
    document["stage2"][part]["type"] = kind
    document["stage2"][part]["hparams"] |= {"vocab_size": 80, "block_size": 99}
    with pytest.raises(ConfigError, match=rf"stage2\.{part}\.type: {kind!r}, only transformer1d"):
        config.parse(document, Path("x"))


@pytest.mark.parametrize("part", ["stage1", *_PARTS])
@pytest.mark.parametrize("text", ["[stage2]", "stage2", "3", "null"])
def test_a_part_whose_config_is_no_mapping_is_refused(part: str, text: str, folder: Path) -> None:
    (folder / part / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match="describes no stage"):
        open_checkpoint(folder)


def test_a_part_without_weights_is_missed(folder: Path) -> None:
    (folder / "bottom" / "ckpt" / "last.ckpt").unlink()
    checkpoint = open_checkpoint(folder)
    with pytest.raises(MissingFileError, match=r"bottom/ckpt/last\.ckpt"):
        load_stage2(checkpoint)


def test_one_of_the_three_folders_is_one_too_low(folder: Path) -> None:
    with pytest.raises(MissingFileError, match="one folder too low"):
        open_checkpoint(folder / "top")
