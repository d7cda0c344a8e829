from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image

from models.configs.prior import Prompt
from models.errors import ConfigError
from models.measure import eval as evaluation
from models.measure.drawer import Setting
from models.measure.drawings import Ask, Drawings
from models.pictures import to_bytes
from models.presets.register import WEIGHTS_FOLDER, get_preset
from tests.models.taming_folders import write_codec


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Random pictures of the shipped model's size; every twentieth is held out."""
    folder = tmp_path / "data"
    folder.mkdir()
    pixels = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for number, picture in enumerate(to_bytes(pixels)):
        Image.fromarray(picture).save(folder / f"{number:02}.png")
    return folder


def tables(out: Path) -> dict[str, list[dict[str, object]]]:
    document = json.loads((out / "eval.json").read_text())
    return {table["title"]: table["rows"] for table in document["tables"]}


def test_two_models_over_two_seeds_once_drawn(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.txt").write_text("a heart\na dog\n")
    asked = ["tiny", "tiny-uncond", "--prompts", str(tmp_path / "p.txt"), "--candidates", "2"]
    asked += ["--seeds", "1", "2", "--data", str(data), "--out", str(tmp_path), "--batch", "2"]
    asked += ["--judge", str(WEIGHTS_FOLDER / "emoji"), "--temperatures", "0.5"]
    asked += ["--acceptance", "1", "0.5"]
    more = ["--tables", *evaluation.OF_MODELS, "fidelity", "rejection", "best-of", "grid"]
    evaluation.main([*asked, *more])
    found = tables(tmp_path)
    assert [row["codec"] for row in found["Reconstruction"]] == ["tiny", "tiny-uncond"]
    assert len(found["Seconds a picture"]) == 2
    assert "Best of n" not in found  # neither has a ranker
    accepted = [row["accepted"] for row in found["Rejection"] if row["model"] == "tiny"]
    assert accepted == ["1", "0.5"]
    distance = found["Fidelity"][0]["Fréchet distance"]
    assert isinstance(distance, list)
    assert len(set(distance)) == 2
    assert len(found["Temperature, top-k and top-p"]) == 2
    assert "±" in capsys.readouterr().out
    assert {"rejection.png", "grid.png", "speed.png"} <= {p.name for p in tmp_path.iterdir()}

    drawn = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("drawn/**/*.*")}
    evaluation.main([*asked, "--tables", "fidelity"])
    assert tables(tmp_path)["Fidelity"][0]["Fréchet distance"] == distance
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("drawn/**/*.*")} == drawn
    assert capsys.readouterr().err == ""


def test_a_codec_alone_is_measured_by_either_way_to_name_its_folder(
    data: Path, tmp_path: Path
) -> None:
    write_codec(tmp_path / "codec", get_preset("tiny-taming-class"))
    asked = ["--tables", "reconstruction", "speed", "--data", str(data), "--out", str(tmp_path)]
    evaluation.main([str(tmp_path / "codec"), *asked])
    (row,) = tables(tmp_path)["Reconstruction"]
    evaluation.main(["--checkpoint", str(tmp_path / "codec"), *asked])
    assert row["codec"] == "codec"
    assert tables(tmp_path) == {"Reconstruction": [row]}


def test_blind_sheets_of_other_seeds_lie_beside_what_was_answered(tmp_path: Path) -> None:
    entry = {"prompt": "a heart", "names": ["a heart", "a dog"]}
    (tmp_path / "p.json").write_text(json.dumps({"prompts": [entry]}))
    asked = ["tiny", "--prompts", str(tmp_path / "p.json"), "--candidates", "1"]
    asked += ["--tables", "blind", "--out", str(tmp_path), "--batch", "1"]
    evaluation.main([*asked, "--seed", "1"])
    (folder,) = (tmp_path / "blind").iterdir()
    (folder / "answers.json").write_text('{"1": {"name": "a heart", "clear": true}}')
    evaluation.main([*asked, "--seed", "2"])
    assert len(list((tmp_path / "blind").iterdir())) == 2
    assert not tables(tmp_path)
    evaluation.main([*asked, "--seed", "1"])
    assert len(tables(tmp_path)) == 1


def test_bits_of_a_model_of_pixels(data: Path, tmp_path: Path) -> None:
    asked = ["tiny-pixelcnn", "--tables", "bits", "--data", str(data), "--out", str(tmp_path)]
    evaluation.main(asked)
    (row,) = tables(tmp_path)["Bits per dimension"]
    assert row["pictures"] == 2
    # Nothing foresees noise of 8 levels: 3 bits and more, whatever the model.
    assert 2.9 < float(str(row["bits per dimension"])) < 5


def test_a_broken_picture_is_left_out_and_none_is_counted_twice(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["tiny", "tiny-pixelcnn", "--tables", "reconstruction", "bits", "--out", str(tmp_path)]
    (data / "05.png").write_bytes(b"none")
    evaluation.main([*asked, "--real", str(data)])
    found = tables(tmp_path)
    assert found["Reconstruction"][0]["pictures"] == 39
    assert found["Bits per dimension"][0]["pictures"] == 39
    assert "skipped, 1 so far: 05.png" in capsys.readouterr().out
    for held_out in ("19.png", "39.png"):
        (data / held_out).write_bytes(b"none")
    with pytest.raises(OSError, match="none of the 2 pictures"):
        evaluation.main([*asked, "--data", str(data)])


@pytest.mark.parametrize("table", ["reconstruction", "retrieval", "bits"])
def test_a_data_set_without_pictures_to_judge_by_is_told(
    data: Path, tmp_path: Path, table: str
) -> None:
    for path in sorted(data.iterdir())[19:]:
        path.unlink()
    asked = ["emoji", "tiny-pixelcnn", "--tables", table, "--out", str(tmp_path)]
    with pytest.raises(ConfigError, match="none of its 19 pictures to judge by: every 20th"):
        evaluation.main([*asked, "--data", str(data)])


@dataclass(frozen=True)
class Away:
    """Whoever draws nothing, as a service does that refuses every job."""

    name: str = "away"
    digest: str = "0" * 64
    max_seed: int = 2**53

    def prompts(self, given: Sequence[str]) -> list[Prompt]:
        return [*given]

    def fitting(self, setting: Setting) -> Setting:
        return setting

    def draw(self, drawings: Drawings, asks: Sequence[Ask], setting: Setting) -> None:
        pass


def test_a_model_of_which_nothing_could_be_drawn_has_a_row_without_figures(
    data: Path, tmp_path: Path
) -> None:
    (tmp_path / "p.txt").write_text("a heart\n")
    parser = ArgumentParser()
    evaluation.add_arguments(parser)
    asked = ["--prompts", str(tmp_path / "p.txt"), "--tables", "fidelity", "--real", str(data)]
    asked += ["--features", str(WEIGHTS_FOLDER / "emoji"), "--out", str(tmp_path)]
    evaluation.run(parser.parse_args(asked), [Away()])
    (row,) = tables(tmp_path)["Fidelity"]
    assert (row["model"], row["pictures"], row["Fréchet distance"]) == ("away", [0.0], None)


def test_the_default_model_is_in_the_report_unless_a_folder_was_given(tmp_path: Path) -> None:
    asked = ["--tables", "bits", "--out", str(tmp_path)]
    for more, models in (([], ["emoji"]), (["--checkpoint", str(WEIGHTS_FOLDER / "emoji")], [])):
        evaluation.main([*asked, *more])
        assert json.loads((tmp_path / "eval.json").read_text())["arguments"]["models"] == models


@pytest.mark.gpu
def test_a_gpu_measures_whatever_a_model_has(data: Path, tmp_path: Path) -> None:
    asked = ["emoji", "tiny-pixelcnn", "--device", "cuda", "--batch", "1", "--out", str(tmp_path)]
    evaluation.main([*asked, "--tables", *evaluation.OF_MODELS, "--data", str(data)])
    found = tables(tmp_path)
    (bits,) = found["Bits per dimension"]
    assert 2.9 < float(str(bits["bits per dimension"])) < 5
    assert [row["model"] for row in found["Seconds a picture"]] == ["emoji", "tiny-pixelcnn"]
    assert "The ranker on pictures that training did not see" in found


def test_what_can_not_be_made_is_said(tmp_path: Path) -> None:
    for given, said in (
        (["tiny-uncond", "--checkpoint", "nowhere"], "is the folder of one model"),
        (["--tables", "best-of"], "needs --prompts"),
        (["--tables", "grid", "--prompts", "p.txt"], "needs --temperatures"),
        (["--tables", "reconstruction", "--real", "nowhere"], "nowhere is no folder of pictures"),
        (["--tables", "blind", "--prompts", "p.txt", "--num-prompts", "1"], "without --num"),
    ):
        (tmp_path / "p.txt").write_text("a")
        asked = [str(tmp_path / word) if word == "p.txt" else word for word in given]
        with pytest.raises(ConfigError, match=said):
            evaluation.main(["tiny", *asked])


@pytest.mark.parametrize("flag", ["--seed", "--seeds"])
def test_seeds_that_repeated_prompts_would_take_too_far_are_refused_before_anything_is_measured(
    flag: str, tmp_path: Path
) -> None:
    """A model that takes no prompts draws one again for each."""
    (tmp_path / "p.txt").write_text("a heart\na dog\n")
    asked = ["tiny", "tiny-uncond", "--prompts", str(tmp_path / "p.txt"), "--candidates", "1"]
    asked += ["--tables", "best-of", "--out", str(tmp_path / "out"), flag, str(2**63 - 1)]
    with pytest.raises(ConfigError, match=rf"^{flag}: tiny-uncond .* up to {2**63 - 1},"):
        evaluation.main(asked)
    assert not (tmp_path / "out").exists()


def test_a_grid_that_a_model_can_not_draw_is_refused_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    (tmp_path / "p.txt").write_text("a heart\n")
    asked = ["tiny", "--prompts", str(tmp_path / "p.txt"), "--out", str(tmp_path / "out")]
    asked += ["--tables", "best-of", "grid", "--candidates", "1", "--top-ks", "5", "100000"]
    with pytest.raises(ConfigError, match=r"--tables grid: tiny: top_k.* not 100000"):
        evaluation.main(asked)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("package", "more"),
    [
        ("matplotlib", ["--tables", "speed"]),
        ("torch_fidelity", ["--tables", "reconstruction", "--features", "inception=nowhere"]),
    ],
)
def test_a_package_that_is_not_installed_is_missed_before_anything_is_measured(
    package: str, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=package):
        evaluation.main(["tiny", "--batch", "1", "--out", str(tmp_path / "out"), *more])
    assert not (tmp_path / "out").exists()
