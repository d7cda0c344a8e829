from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.errors import ConfigError
from models.files.pixel_file import read_config
from models.verify import of_dmol, of_pixels, pixel_sets
from models.verify.compare import run
from models.verify.recorded import Recorded
from tests.models.golden import GOLDEN

SETS = ("pixelcnn", "pixelcnnpp", "image_transformer")


def _report(checkpoint: Path | None, expected: Path) -> tuple[bool, list[str]]:
    out = io.StringIO()
    is_within = run(checkpoint, expected, out)
    return is_within, out.getvalue().splitlines()


@pytest.mark.parametrize("name", SETS)
def test_every_recorded_array_is_checked_and_within(name: str) -> None:
    is_within, lines = _report(GOLDEN / name, GOLDEN / name)
    assert is_within, "\n".join(lines)
    checked = {line.split()[0] for line in lines if " ok" in line}
    arrays = {key for key in Recorded.load(GOLDEN / name).arrays if not of_pixels.is_input(key)}
    assert arrays <= checked
    facts = {key for key in checked - arrays if key.endswith(("bits_per_dim", "grad_norm"))}
    assert checked == arrays | facts
    assert facts


def test_mixtures_need_no_checkpoint() -> None:
    is_within, lines = _report(None, GOLDEN / "dmol")
    assert is_within, "\n".join(lines)
    assert len([line for line in lines if " ok" in line]) == 19


def test_one_changed_number_of_a_mixture_is_a_miss() -> None:
    for name in ("nll_pixel_f64", "grad_f64", "sample", "sample_u8", "pmf_logp", "gray_sample"):
        recorded = Recorded.load(GOLDEN / "dmol")
        array = recorded.arrays[name]
        array[(0,) * array.ndim] += 1
        missed = [found.name for found in of_dmol.mixtures(recorded) if not found.is_within]
        assert missed == [name]


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("pixelcnn", "gated_logits"),
        ("pixelcnn", "greedy"),
        ("pixelcnn", "mask_A_6_3_7_3"),
        ("image_transformer", "dmol_local_nll"),
        ("image_transformer", "t2t_local2d_h6_w8_q2x4_m2x2"),
    ],
)
def test_one_changed_number_of_a_model_is_a_miss(name: str, array: str) -> None:
    recorded = Recorded.load(GOLDEN / name)
    numbers = recorded.arrays[array]
    numbers[(0,) * numbers.ndim] = 1 - numbers[(0,) * numbers.ndim]
    results = pixel_sets.results(GOLDEN / name, recorded)
    assert [found.name for found in results if not found.is_within] == [array]


def test_an_array_that_nobody_computes_fails_the_set(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"new_thing": np.zeros(3)} | Recorded.load(GOLDEN / "dmol").arrays
    np.savez(tmp_path / "expected.npz", **arrays)
    is_within, lines = _report(None, tmp_path)
    assert not is_within
    assert "new_thing            not checked (nothing here computes it)" in lines


def test_a_file_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    saved = torch.load(GOLDEN / "pixelcnn" / "model.pt", weights_only=True)
    for change, message in (
        ({"kernel_size": 4}, "config.kernel_size: must be odd, not 4"),
        ({"colours": 1}, "unknown key: config.colours"),
        ({"filters": "many"}, "config.filters: "),
        ({"nr_resnet": 1}, "of no known family"),
    ):
        torch.save({**saved, "config": {**saved["config"], **change}}, path)
        with pytest.raises(ConfigError, match=message):
            read_config(path)
    torch.save({"state_dict": saved["state_dict"]}, path)
    with pytest.raises(ConfigError, match="holds no config"):
        read_config(path)


def test_a_set_of_another_folder_misses(tmp_path: Path) -> None:
    """A model with other weights is found out."""
    for path in (GOLDEN / "pixelcnnpp").iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    saved = torch.load(tmp_path / "model_gray.pt", weights_only=True)
    saved["state_dict"]["u_init.conv.bias"] += 0.01
    torch.save(saved, tmp_path / "model_gray.pt")
    is_within, lines = _report(tmp_path, GOLDEN / "pixelcnnpp")
    assert not is_within
    assert any(line.startswith("gray_logits") and "MISS" in line for line in lines)
    assert json.loads((tmp_path / "expected.json").read_text())
