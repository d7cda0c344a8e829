"""A ranker that is trained further, or on distorted pictures: `clip --init`, `--distortion`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file

from models.errors import ConfigError, KeyMismatchError, MissingFileError
from models.presets.register import WEIGHTS_FOLDER
from models.train import clip
from models.train.data.data_set import Variant
from models.train.loop.checkpoints import averaged

EMOJI = WEIGHTS_FOLDER / "emoji"
GOLDEN = Path(__file__).parents[2] / "golden" / "mindalle_text"


def train(pictures: Path, run: Path, *options: str) -> None:
    short = ["--steps", "1", "--batch", "4", "--threads", "1"]
    clip.main(["--data", str(pictures), "--run", str(run), *short, *options])


def test_a_checkpoints_ranker_goes_on_from_its_weights(pictures: Path, tmp_path: Path) -> None:
    train(pictures, tmp_path, "--init", str(EMOJI), "--rate", "1e-12")
    begun = load_file(EMOJI / "clip" / "clip.safetensors")
    ended = load_file(tmp_path / "clip" / "clip.safetensors")
    assert begun.keys() == ended.keys()
    assert all(torch.equal(begun[name], ended[name]) for name in begun)
    told = [folder / "clip" / "open_clip_config.json" for folder in (EMOJI, tmp_path)]
    assert told[0].read_text() == told[1].read_text()


def test_the_rate_says_how_far_a_step_goes(pictures: Path, tmp_path: Path) -> None:
    begun = load_file(EMOJI / "clip" / "clip.safetensors")
    moved = []
    for rate in ("1", "0.1"):
        train(pictures, tmp_path / rate, "--init", str(EMOJI), "--rate", rate)
        ended = averaged(tmp_path / rate)[1]
        moved.append(sum(float((ended[name] - begun[name]).norm()) for name in begun))
    assert moved[0] > 5 * moved[1] > 0


def test_a_checkpoint_without_a_clip_has_no_ranker_to_train(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no CLIP"):
        train(pictures, tmp_path, "--init", str(GOLDEN))


def test_a_ranker_of_another_size_is_refused_by_the_flags_name(
    pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"--size: .* 64 pixels"):
        train(pictures, tmp_path, "--init", str(EMOJI), "--size", "128")


def test_another_shape_keeps_the_weights_that_fit(pictures: Path, tmp_path: Path) -> None:
    shape = ["--shape", "vision_cfg.patch_dropout=0.25"]
    train(pictures, tmp_path, "--init", str(EMOJI), "--rate", "1e-12", *shape)
    told = json.loads((tmp_path / "clip" / "open_clip_config.json").read_text())["model_cfg"]
    assert told["vision_cfg"]["patch_dropout"] == 0.25
    with pytest.raises(KeyMismatchError):
        train(pictures, tmp_path, "--init", str(EMOJI), "--shape", "vision_cfg.layers=5")


def first_loss(run: Path) -> float:
    loss: float = json.loads((run / "log.jsonl").read_text().splitlines()[0])["loss"]
    return loss


def test_distorted_pictures_make_another_loss(pictures: Path, tmp_path: Path) -> None:
    for strength in ("0", "1"):
        train(pictures, tmp_path / strength, "--init", str(EMOJI), "--distortion", strength)
    assert first_loss(tmp_path / "0") != first_loss(tmp_path / "1")


def test_a_share_of_plain_pictures_is_shown_plain() -> None:
    drawn = [Variant(image, ("single/small",)) for image in range(100)]
    shown = clip.made_plain(drawn, 0.5, Random(0))
    assert [variant.image for variant in shown] == list(range(100))
    assert 30 < sum(variant.look == () for variant in shown) < 70
    assert clip.made_plain(drawn, 1.0, Random(0)) == [Variant(image) for image in range(100)]


def test_no_tokenizer_is_learnt_into_the_checkpoint(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(EMOJI, folder, ignore=shutil.ignore_patterns("tokenizer"))
    with pytest.raises(MissingFileError, match=r"vocab\.json"):
        train(pictures, tmp_path / "run", "--init", str(folder))
    assert not (folder / "tokenizer").exists()
