"""The command that trains the HQ codec, on a cache of art that looks like the fetched one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.train import hq_codec
from models.train.data.emoji.art import ART_SETS, MODULES, NAMES, STYLES
from models.train.data.emoji.concepts import LIST, parse_list
from models.train.data.scenes.languages import CLDR
from models.train.data.scenes.things import LANGUAGES, load_things

_SIDE, _NUM_THINGS = 128, 40


@pytest.fixture(scope="module")
def art(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain squares for some things, and packages with a name for every concept."""
    cache = tmp_path_factory.mktemp("art")
    labels = [label for _, label, _ in parse_list(LIST.read_text("utf-8"))]
    for package, _ in [*((art.package, art.version) for art in ART_SETS), NAMES, CLDR]:
        (cache / MODULES / package).mkdir(parents=True)
        (cache / MODULES / package / "package.json").write_text("{}")
    rows = [{"label": label, "hexcode": f"{0x4E00 + i:04X}"} for i, label in enumerate(labels)]
    (cache / MODULES / NAMES[0] / "en").mkdir()
    (cache / MODULES / NAMES[0] / "en" / "data.json").write_text(json.dumps(rows))
    words = {chr(0x4E00 + i): {"tts": [label], "default": []} for i, label in enumerate(labels)}
    for language in ("en", *LANGUAGES):
        path = cache / MODULES / CLDR[0] / "annotations" / language / "annotations.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"annotations": {"annotations": words}}))
    things = [labels.index(label) for label in list(load_things())[:_NUM_THINGS]]
    owners = np.array([(thing, style) for style in range(len(STYLES)) for thing in things])
    rgba = np.zeros((len(owners), _SIDE, _SIDE, 4), np.uint8)
    rgba[:, 16:-16, 16:-16, :3] = np.random.default_rng(0).integers(0, 256, (len(owners), 1, 1, 3))
    rgba[:, 16:-16, 16:-16, 3] = 255
    np.savez(cache / f"art-{_SIDE}.npz", rgba=rgba, concept=owners[:, 0], style=owners[:, 1])
    return cache


def train(art: Path, run: Path, *more: str) -> None:
    common = ["--art", str(art), "--run", str(run), "--threads", "1", "--judged", "2"]
    hq_codec.main([*common, "--steps", "4", "--batch", "2", *more])


def state(run: Path) -> dict[str, torch.Tensor]:
    average: dict[str, torch.Tensor] = torch.load(run / "state.pt", weights_only=True)["average"]
    return average


def test_a_resumed_run_is_the_uninterrupted_one(art: Path, tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    train(art, whole)
    train(art, parted, "--until", "2")
    train(art, parted, "--resume")
    one, other = state(whole), state(parted)
    assert all(torch.equal(one[name], other[name]) for name in one)
    log = [json.loads(line) for line in (parted / "log.jsonl").read_text().splitlines()]
    assert {"single_psnr", "scene_psnr", "single_codes_0", "scene_codes_1"} <= {
        key for row in log for key in row
    }
    assert {"grid.png", "curve.png"} <= {path.name for path in parted.iterdir()}
