"""The command that trains the HQ codec, on a cache of art that looks like the fetched one."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from models.train import hq_codec


def train(art_cache: Path, run: Path, *more: str) -> None:
    common = ["--art", str(art_cache), "--run", str(run), "--threads", "1", "--judged", "2"]
    hq_codec.main([*common, "--steps", "4", "--batch", "2", *more])


def state(run: Path) -> dict[str, torch.Tensor]:
    average: dict[str, torch.Tensor] = torch.load(run / "state.pt", weights_only=True)["average"]
    return average


def test_a_resumed_run_is_the_uninterrupted_one(art_cache: Path, tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    train(art_cache, whole)
    train(art_cache, parted, "--until", "2")
    train(art_cache, parted, "--resume")
    one, other = state(whole), state(parted)
    assert all(torch.equal(one[name], other[name]) for name in one)
    log = [json.loads(line) for line in (parted / "log.jsonl").read_text().splitlines()]
    assert {"single_psnr", "scene_psnr", "single_codes_0", "scene_codes_1"} <= {
        key for row in log for key in row
    }
    assert {"grid.png", "curve.png"} <= {path.name for path in parted.iterdir()}
