"""The commands as their users start them: several processes, told to end, gone on with by fewer."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
import torch

from models.errors import ConfigError
from models.train.loop import processes
from models.train.loop.checkpoints import averaged, latest
from tests.models.train.data.test_shards import write_shards
from tests.models.train.torchrun import ENVIRONMENT

_CODEC = ["--family", "hq-vae", "--shape", "resolution=32", "ch=8", "n_embed=[16,16]"]
_LIMIT_S = 400


def command(run: Path, data: Path, *more: str) -> list[str]:
    """Of stage 1, for 41 steps of 4 pictures: two epochs and a half of the 23 that may be seen."""
    sizes = ["--batch", "4", "--judged", "2", "--threads", "1", "--steps", "41", "--rate", "0.1"]
    where = ["--run", str(run), "--data", str(data), "--save-every", "2"]
    return [sys.executable, "-m", "models.train", "stage1", *where, *sizes, *more, *_CODEC]


def finish(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, env=ENVIRONMENT, timeout=_LIMIT_S, capture_output=True, text=True, check=False
    )


def losses(run: Path) -> dict[int, float]:
    """Step → loss, as logged."""
    rows = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def test_a_batch_that_can_not_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(range(8))[processes.my_share(8)] == list(range(8))
    monkeypatch.setattr(processes, "place", lambda: (1, 3))
    assert list(range(6))[processes.my_share(6)] == [2, 3]  # so that all in turn are the batch
    with pytest.raises(ConfigError, match="--batch: 8 can't be shared equally by 3 processes"):
        processes.my_share(8)


@pytest.mark.timeout(240)
def test_workers_are_started_by_torchrun(tmp_path: Path) -> None:
    done = finish(command(tmp_path / "run", tmp_path, "--workers", "2"))
    assert done.returncode == 1
    assert done.stderr.count("stage1:") == min(2, torch.cuda.device_count() or 2)
    assert "Traceback" not in done.stderr
    assert "holds no pictures" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_told_to_end_two_processes_save_and_one_goes_on(pictures: Path, tmp_path: Path) -> None:
    """Through shards, in the middle of an epoch; the curve is that of a folder in one process."""
    pattern = write_shards(pictures, tmp_path)
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert finish(command(whole, pictures)).returncode == 0
    start = command(parted, pattern, "--workers", "2")
    with subprocess.Popen(start, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + _LIMIT_S
        while latest(parted) is None and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(Random().uniform(0, 3))
        running.send_signal(signal.SIGTERM)
        said, _ = running.communicate(timeout=_LIMIT_S)
    assert "told to end: saved in" in said
    assert running.returncode == 0
    step, _ = averaged(parted)
    assert 0 < step < 41
    assert finish(command(parted, pattern, "--resume")).returncode == 0
    assert losses(parted) == pytest.approx(losses(whole), rel=1e-5), f"ended after {step} steps"
    for name, weight in averaged(whole)[1].items():
        assert weight.sub(averaged(parted)[1][name]).abs().max() < 1e-4, name
