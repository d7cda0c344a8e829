"""`verify` on VQ-GAN's own models.

Of the recorded set stage 1 is left out here (a random one takes its place), so of its numbers those
of the transformer are checked; by hand `mindalle verify` takes the whole sets.
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.files.checkpoint import load_stage1, open_checkpoint
from models.presets.register import get_preset
from models.stage1.vqgan import VQGAN, GumbelQuantizer
from models.verify.compare import run
from tests.models.golden import GOLDEN, arrays
from tests.models.taming_folders import WEIGHTS, write_codec

_OF_TRANSFORMER = {
    *("tf_logits", "cached_logits", "greedy_codes", "completed_codes", "filt_probs"),
    "coordinates",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded transformer with a stage 1."""
    folder = tmp_path_factory.mktemp("taming") / "coord"
    shutil.copytree(GOLDEN / "taming_coord", folder)
    codec = VQGAN(open_checkpoint(folder).preset.stage1)  # type: ignore[arg-type]  # it is one's
    file = torch.load(folder / WEIGHTS, weights_only=True)
    beside = {f"first_stage_model.{key}": value for key, value in codec.state_dict().items()}
    torch.save(file | {"state_dict": file["state_dict"] | beside}, folder / WEIGHTS)
    return folder


def _expected(folder: Path, numbers: dict[str, NDArray[Any]], facts: dict[str, Any]) -> Path:
    folder.mkdir()
    np.savez(folder / "expected.npz", **numbers)  # type: ignore[arg-type]  # its stub takes only arrays by keyword
    (folder / "expected.json").write_text(json.dumps(facts))
    return folder


def _verdicts(folder: Path, expected: Path) -> dict[str, bool]:
    out = io.StringIO()
    run(folder, expected, out)
    lines = out.getvalue().splitlines()[1:]
    return {line.split()[0]: " ok" in line for line in lines if " ok" in line or "MISS" in line}


def _of_transformer() -> dict[str, NDArray[Any]]:
    inputs = {"tf_codes", "cond_codes", "filt_logits", "filt_params", "greedy_margin"}
    recorded = arrays("taming_coord")
    return {name: recorded[name] for name in recorded if name in _OF_TRANSFORMER | inputs}


def test_the_recorded_numbers_are_checked_and_within(folder: Path, tmp_path: Path) -> None:
    expected = _expected(tmp_path / "e", _of_transformer(), {})
    assert _verdicts(folder, expected) == dict.fromkeys(_OF_TRANSFORMER, True)


def test_each_changed_number_is_a_miss(folder: Path, tmp_path: Path) -> None:
    numbers = _of_transformer()
    for name in _OF_TRANSFORMER - {"coordinates"}:
        at = (0,) * numbers[name].ndim
        numbers[name][at] += 1 if numbers[name].dtype.kind == "i" else 1e-3
    verdicts = _verdicts(folder, _expected(tmp_path / "e", numbers, {}))
    assert verdicts == {name: name == "coordinates" for name in _OF_TRANSFORMER}


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taming") / "codec"
    write_codec(folder, get_preset("tiny-taming-class"))
    return folder


@torch.inference_mode()
def _numbers_of(codec: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What the definitions give for a codec with random weights and noise."""
    vqgan = load_stage1(open_checkpoint(codec, codec_alone=True))
    assert isinstance(vqgan, VQGAN)
    assert isinstance(vqgan.quantize, GumbelQuantizer)
    torch.manual_seed(1)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    logits = vqgan.quantize.proj(vqgan.quant_conv(vqgan.encoder(images)))
    noise = -torch.empty_like(logits).exponential_().log()
    codes, sampled = logits.argmax(1), (logits + noise).argmax(1)
    shares = logits.double().softmax(1)
    kl = float((shares * (shares * 64).log()).sum(1).mean())
    found = {"enc_images": images, "enc_logits": logits, "enc_codes": codes}
    found |= {"enc_gumbel_noise": noise, "enc_sampled_codes": sampled}
    raw = {"enc_recon_raw": codes, "enc_sampled_recon_raw": sampled}
    found |= {name: vqgan.decode(grid) for name, grid in raw.items()}
    return {name: t.numpy() for name, t in found.items()}, {"kl_loss": kl / 2, "kl_weight": 0.5}


def test_a_codec_alone_is_checked(codec: Path, tmp_path: Path) -> None:
    numbers, facts = _numbers_of(codec)
    names = {name for name in numbers if name not in ("enc_images", "enc_gumbel_noise")}
    good = _verdicts(codec, _expected(tmp_path / "good", numbers, facts))
    assert good == dict.fromkeys(names | {"kl_loss"}, True)
    for name in names:
        at = (0,) * numbers[name].ndim
        numbers[name][at] += 1 if numbers[name].dtype.kind == "i" else 1e-3
    facts["kl_loss"] *= 1.01
    bad = _verdicts(codec, _expected(tmp_path / "bad", numbers, facts))
    assert bad == dict.fromkeys(names | {"kl_loss"}, False)
