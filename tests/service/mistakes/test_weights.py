"""Weights that are damaged, or another model's: nothing is drawn by them, and no worker starts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.presets.register import WEIGHTS_FOLDER
from tests.models.golden import GOLDEN
from tests.privileges import permissions_hold
from tests.servers import RedisServer
from tests.service.mistakes.conftest import as_process


def _with_nan(folder: Path, name: str, tensor: str) -> Path:
    path = folder / name
    content = torch.load(path, weights_only=True)
    content["state_dict"][tensor].fill_(float("nan"))
    torch.save(content, path)
    return folder


@pytest.mark.parametrize(
    ("name", "tensor", "what"),
    [
        ("stage1_last.ckpt", "decoder.conv_out.bias", "pixels of stage 1"),
        ("stage2_last.ckpt", "head_img.weight", "states of stage 2"),
    ],
)
def test_weights_that_are_no_numbers(
    tmp_path: Path, name: str, tensor: str, what: str, refusal: Callable[..., str]
) -> None:
    folder = Path(shutil.copytree(GOLDEN / "mindalle_text", tmp_path / "model"))
    _with_nan(folder, name, tensor)
    line = refusal("generate", "a", "--num-candidates", "1", "--checkpoint", str(folder))
    assert f"the {what} are not finite numbers: the weights are damaged" in line


def test_a_worker_with_such_weights_does_not_start(
    tmp_path: Path, valkey_server: RedisServer
) -> None:
    folder = Path(shutil.copytree(GOLDEN / "mindalle_text", tmp_path / "model"))
    _with_nan(folder, "stage2_last.ckpt", "head_img.weight")
    done = as_process(
        "worker", "--checkpoint", str(folder), "--redis", valkey_server.url, "--port", "0"
    )
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("mindalle worker: the states of stage 2 are not finite numbers")
    assert "Traceback" not in done.stderr


def test_weights_that_do_not_fit_their_config(tmp_path: Path, refusal: Callable[..., str]) -> None:
    folder = Path(shutil.copytree(GOLDEN / "mindalle_text", tmp_path / "model"))
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("mlp_bias: true", "mlp_bias: false"))
    line = refusal("generate", "a", "--checkpoint", str(folder))
    assert "does not fit its config (0 missing, " in line
    assert "unexpected blocks.0.mlp.0.bias" in line
    assert len(line) < 1000


def test_a_ranker_whose_weights_are_no_numbers(tmp_path: Path, refusal: Callable[..., str]) -> None:
    folder = Path(shutil.copytree(WEIGHTS_FOLDER / "emoji", tmp_path / "emoji"))
    path = folder / "clip/clip.safetensors"
    save_file({name: tensor * float("nan") for name, tensor in load_file(path).items()}, path)
    line = refusal("generate", "a", "--num-candidates", "1", "--checkpoint", str(folder))
    assert "the ranker's scores are not finite numbers" in line


@pytest.mark.parametrize("name", ["stage2-00000.safetensors", "clip/clip.safetensors"])
def test_weights_that_may_not_be_read(
    tmp_path: Path, name: str, refusal: Callable[..., str]
) -> None:
    folder = Path(shutil.copytree(WEIGHTS_FOLDER / "emoji", tmp_path / "emoji"))
    (folder / name).chmod(0)
    with permissions_hold():
        line = refusal("generate", "a", "--num-candidates", "1", "--checkpoint", str(folder))
    assert f"{folder / name}: Permission denied" in line
