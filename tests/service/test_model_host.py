from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
import torch

from models.enhancer import random_upsampler
from models.files import enhance_folder
from models.files.convert import convert
from models.presets.register import WEIGHTS_FOLDER, get_preset
from service.config.groups import WorkerSettings
from service.errors import StartRefused
from service.worker.model_host import Machinery, load_model, load_options
from service.worker.threads import on_own_thread
from tests.models.random_checkpoint import tiny_with_words, write_random_checkpoint


@pytest.mark.parametrize(
    ("device", "reason"),
    [("mps", "neither cpu nor cuda"), ("cuda:77", "no device"), ("toaster", "no device")],
)
def test_a_device_that_can_not_serve_is_refused_by_name(device: str, reason: str) -> None:
    with pytest.raises(StartRefused, match=rf"MINDALLE_WORKER__DEVICE.*{reason}"):
        load_options(WorkerSettings(device=device))


def test_a_device_without_memory_is_not_said_to_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def zeros(*_arguments: object, **_options: object) -> torch.Tensor:
        raise torch.AcceleratorError("CUDA error: out of memory")

    monkeypatch.setattr(torch, "zeros", zeros)
    with pytest.raises(StartRefused, match=r"MINDALLE_WORKER__DEVICE.*no memory left on 'cpu'"):
        load_options(WorkerSettings(device="cpu"))


def test_a_served_model_computes_in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    load_model("tiny", WorkerSettings(device="cpu"))
    assert torch.backends.cudnn.deterministic


def test_auto_is_bfloat16_on_a_gpu_and_float32_on_a_cpu() -> None:
    options = load_options(WorkerSettings())
    wanted = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    assert options.dtype == wanted


def test_eight_bits_are_a_setting_and_their_error_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        model = load_model("tiny", WorkerSettings(device="cpu", quantization="int8"))
    assert model.pipeline.quantization is not None
    assert "relative rms error" in caplog.text


@pytest.mark.parametrize(("name", "has_scores"), [("tiny", False), ("tiny-dalle", True)])
def test_a_workers_card_says_whether_something_ranks(name: str, has_scores: bool) -> None:
    model = load_model(name, WorkerSettings(device="cpu"))
    assert model.card.has_scores == has_scores == (model.pipeline.ranker is not None)


def test_shipped_weights_are_known_by_the_hash_of_their_manifests() -> None:
    names = ("emoji/manifest.json", "emoji/enhance/manifest.json")
    manifests = b"".join((WEIGHTS_FOLDER / name).read_bytes() for name in names)
    card = load_model("emoji", WorkerSettings(device="cpu")).card
    assert card.weights_digest == hashlib.sha256(manifests).hexdigest()


def test_an_enhancement_put_there_later_changes_the_hash(tmp_path: Path) -> None:
    own = get_preset("tiny-enhance").enhancement
    assert own is not None
    write_random_checkpoint(tmp_path / "official", tiny_with_words())
    convert(tmp_path / "official", tmp_path / "model")
    settings = WorkerSettings(device="cpu", checkpoint=tmp_path / "model")
    before = load_model("tiny", settings).card
    weights = random_upsampler(own, 0).state_dict().items()
    enhance_folder.save(tmp_path / "model/finer", own, weights)
    with (tmp_path / "model/config.yaml").open("a") as config:
        config.write("enhance: finer\n")
    after = load_model("tiny", settings).card
    assert (before.enhances, after.enhances) == (None, True)
    assert after.weights_digest != before.weights_digest


async def test_machinery_is_ready_to_draw() -> None:
    settings = WorkerSettings(device="cpu", rows=4)
    machinery = await on_own_thread(lambda: Machinery.load("tiny", settings).warmed_up())
    assert machinery.ready_s > machinery.model.load_s
    assert machinery.engine.num_rows == 4
    assert machinery.engine.is_idle
    assert machinery.share.total >= 1
