"""Each training command on a folder of drawn pictures, for a few steps and with `--resume`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from models.train import bpe, clip, codes, stage1, stage2
from models.train.data.code_table import CodeTable
from models.train.data.folder import FolderSet


def losses(run: Path) -> dict[int, float]:
    """Step → loss, as logged."""
    rows = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def last_state(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "state.pt", weights_only=True)["average"]
    return state


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """Tokenizer, a short stage-1 run and its codes, made by the commands."""
    folder = tmp_path_factory.mktemp("runs")
    bpe.main(["--data", str(pictures), "--out", str(folder / "tokenizer")])
    stage1.main([*common(pictures, folder / "stage1"), "--steps", "2", "--batch", "2"])
    arguments = ["--stage1", str(folder / "stage1"), "--out", str(folder / "codes")]
    codes.main(["--data", str(pictures), *arguments, "--workers", "1"])
    return folder


def common(pictures: Path, run: Path) -> list[str]:
    return ["--data", str(pictures), "--run", str(run), "--threads", "1", "--save-every", "2"]


def test_stage1_leaves_a_grid_a_curve_and_its_figures(runs: Path) -> None:
    folder = runs / "stage1"
    assert {"grid.png", "curve.png", "log.jsonl", "state.pt"} <= {p.name for p in folder.iterdir()}
    figures = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
    assert figures["val_psnr"] > 0


def test_codes_cover_the_training_pictures(runs: Path, pictures: Path) -> None:
    table = CodeTable.load(runs / "codes", FolderSet(pictures, 64))
    assert table.codes.shape == (23, 64)
    assert int(table.codes.max()) < 1024
    assert set(table.by_kind) == {"plain"}


@pytest.mark.parametrize("stage", ["stage1", "stage2", "clip"])
def test_a_resumed_run_is_the_uninterrupted_one(
    stage: str, runs: Path, pictures: Path, tmp_path: Path
) -> None:
    command = {"stage1": stage1.main, "stage2": stage2.main, "clip": clip.main}[stage]
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    more = ["--steps", "4", "--batch", "4"]
    if stage != "stage1":
        more += ["--tokenizer", str(runs / "tokenizer")]
    if stage == "stage2":
        more += ["--codes", str(runs / "codes")]
    command([*common(pictures, whole), *more])
    command([*common(pictures, parted), *more, "--until", "2"])
    command([*common(pictures, parted), *more, "--resume"])
    assert losses(whole)[3] == losses(parted)[3]
    one, other = last_state(whole), last_state(parted)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("prefix", ["class", "none"])
def test_stage2_goes_on_from_a_text_checkpoint_without_text(
    prefix: str, pictures: Path, tmp_path: Path
) -> None:
    golden = Path(__file__).parents[2] / "golden" / "mindalle_text"
    numbered = tmp_path / "numbered"
    numbered.mkdir()
    for path in sorted(pictures.glob("0*.png")):
        (numbered / path.name).write_bytes(path.read_bytes())
        (numbered / f"{path.stem}.txt").write_text(f"{int(path.stem) % 3}\n")
    start = ["--data", str(numbered), "--checkpoint", str(golden)]
    codes.main([*start, "--out", str(tmp_path / "codes"), "--workers", "1"])
    more = ["--codes", str(tmp_path / "codes"), "--prefix", prefix, "--classes", "3"]
    short = ["--threads", "1", "--steps", "2", "--batch", "2"]
    for run in ("run", "again"):
        stage2.main([*start, *more, *short, "--run", str(tmp_path / run)])
    state, again = last_state(tmp_path / "run"), last_state(tmp_path / "again")
    assert all(torch.equal(state[name], again[name]) for name in state)  # fresh parts, too
    assert state["sos.weight"].shape[0] == (3 if prefix == "class" else 1)
    assert not any("txt" in name for name in state)
