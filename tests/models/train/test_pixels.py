"""Smoke runs of every pixel family on a folder of drawn pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from models.drawing.sampling import RowParams
from models.errors import ConfigError
from models.files.new_folder import FolderInUseError
from models.pipeline import load
from models.train import pixels
from models.train.loop.checkpoints import averaged
from models.train.loop.learner import NotFiniteError
from models.train.loop.run import Run
from models.train.recipes.pixels import SHAPES

_SMALL = {
    "pixel-cnn": ["levels=8", "filters=6", "num_blocks=1", "output_filters=12"],
    "gated-pixel-cnn": ["color_levels=8", "hidden_fmaps=6", "hidden_layers=1"],
    "pixel-cnn-pp": ["nr_resnet=1", "nr_filters=8", "nr_logistic_mix=2"],
    "image-transformer": ["hidden_size=16", "nlayers=1", "filter_size=16", "block_length=16"],
}


@pytest.fixture(scope="module")
def by_class(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures in a folder for each of three shapes."""
    folder = tmp_path_factory.mktemp("by-class")
    for index, path in enumerate(sorted(pictures.glob("*.png"))):
        (folder / f"shape{index % 3}").mkdir(exist_ok=True)
        shutil.copyfile(path, folder / f"shape{index % 3}" / path.name)
    return folder


def _command(family: str, data: Path, run: Path, *more: str) -> list[str]:
    shape = ["--shape", "height=8", "width=8", *_SMALL[family]]
    sizes = ["--batch", "4", "--threads", "1", "--save-every", "5", "--samples", "0"]
    return ["--family", family, "--data", str(data), "--run", str(run), *sizes, *more, *shape]


def test_every_family_has_a_shape_to_train() -> None:
    assert SHAPES.keys() == _SMALL.keys()


@pytest.mark.parametrize("family", SHAPES)
def test_a_run_learns_ships_and_draws(family: str, by_class: Path, tmp_path: Path) -> None:
    run, shipped = tmp_path / "run", tmp_path / "shipped"
    more = ["--steps=21", "--samples=3", f"--ship={shipped}"]
    if has_classes := family != "pixel-cnn":
        more.append("--classes")
    pixels.main(_command(family, by_class, run, *more))
    history = Run(run, 0).history()
    learnt = [row["bits"] for row in history if "bits" in row]
    assert learnt[-1] < learnt[0]
    assert history[-1]["val_bits"] < learnt[0]
    assert (run / "samples.png").stat().st_size > 100
    pipeline = load("", shipped)
    prompt = 2 if has_classes else None
    assert pipeline.preset.num_classes == (3 if has_classes else None)
    (picture,) = pipeline.generate(prompt, [RowParams(1)])
    assert picture.pixels.shape == (3, 8, 8)
    assert json.loads((shipped / "manifest.json").read_text())["stages"].keys() == {"stage2"}


def test_a_resumed_run_is_the_uninterrupted_one(pictures: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    pixels.main(_command("pixel-cnn-pp", pictures, whole, "--steps", "6"))
    for until in ("3", "6"):
        command = _command("pixel-cnn-pp", pictures, parts, "--steps", "6", "--until", until)
        pixels.main([*command[:-6], "--resume", *command[-6:]])
    (_, one), (_, other) = averaged(whole), averaged(parts)
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_weights_of_another_shape_are_not_gone_on_with(pictures: Path, tmp_path: Path) -> None:
    command = _command("pixel-cnn-pp", pictures, tmp_path, "--steps", "1")
    pixels.main(command)
    with pytest.raises(ConfigError, match="of another shape"):
        pixels.main(["--resume", *command, "nr_filters=6"])


def test_a_loss_that_is_no_number_names_its_pictures(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError, match=r"at step 1; its pictures: \d\d\.png, "):
        pixels.main(_command("pixel-cnn", pictures, tmp_path, "--steps", "9", "--rate", "1e38"))


def test_what_can_not_be_trained_is_said(pictures: Path, tmp_path: Path) -> None:
    for family, more, message in (
        ("pixel-cnn", ["--classes"], "--classes: PixelCNN has none"),
        ("pixel-cnn-pp", ["--shape", "height=8", "width=12"], "must be equal"),
        ("pixel-cnn-pp", ["--shape", "height=6", "width=6"], "--shape.height: must be a multiple"),
    ):
        command = ["--family", family, "--data", str(pictures), "--run", str(tmp_path), *more]
        with pytest.raises(ConfigError, match=message):
            pixels.main(command)


def test_a_folder_that_is_in_use_is_refused_before_the_training(
    pictures: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(FolderInUseError, match="is not empty"):
        pixels.main(_command("pixel-cnn", pictures, run, "--steps", "9", f"--ship={pictures}"))
    assert not run.exists()
