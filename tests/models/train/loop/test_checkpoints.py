from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

from models.errors import CheckpointError, MissingFileError
from models.train.loop import checkpoints
from models.train.loop.checkpoints import Checkpoints, State, averaged, latest, load, run_of
from models.train.loop.processes import is_first
from models.train.recipes.prior import Examples
from models.train.recipes.transformer import plan_of
from tests.models.train.recipes.test_transformer import batch, trainer
from tests.models.train.torchrun import as_program, run_program

PROGRAM = "tests.models.train.loop.test_checkpoints"


def state(step: int) -> State:
    weights = {"a": torch.full((2, 3), float(step)), "b.c": torch.tensor(step)}
    options = {"lr": 0.1 * step, "betas": (0.9, 0.95), "is": True, "none": None}
    return {
        "step": step,
        "average": weights,
        "optimisers": [{"state": {3: dict(weights)}, **options}],
    }


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_a_state_comes_back_with_its_kinds_of_keys_and_values(tmp_path: Path) -> None:
    Checkpoints(tmp_path, 1).save(state(7))
    found = load(tmp_path / "checkpoints" / "000007")
    (optimiser,) = cast(list[dict[str, Any]], found["optimisers"])
    assert optimiser["state"][3]["a"].tolist() == [[7.0] * 3] * 2
    assert optimiser["state"][3]["b.c"].dtype == torch.int64
    assert {k: v for k, v in optimiser.items() if k != "state"} == {
        "lr": 0.1 * 7,
        "betas": [0.9, 0.95],
        "is": True,
        "none": None,
    }
    step, weights = averaged(tmp_path)
    assert step == 7
    assert weights["a"].tolist() == [[7.0] * 3] * 2


def test_the_last_ones_are_kept_and_halves_are_not(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path, 1, kept=2)
    assert latest(tmp_path) is None
    with pytest.raises(MissingFileError, match="holds no checkpoint of a run"):
        averaged(tmp_path)
    for step in (1, 2, 3):
        saved.save(state(step))
    half = tmp_path / "checkpoints" / "000004"
    half.mkdir()
    (half / "shard-00001-model-00001-of-00001.safetensors").write_bytes(b"half")
    assert latest(tmp_path) == tmp_path / "checkpoints" / "000003"
    saved.save(state(5))
    assert names(tmp_path) == ["000003", "000005"]
    (tmp_path / "checkpoints" / "000003").rename(tmp_path / "checkpoints" / "the best")
    Checkpoints(tmp_path, 1).save(state(2))  # a run that has begun anew
    assert names(tmp_path) == ["000002", "the best"]
    assert latest(tmp_path) == tmp_path / "checkpoints" / "000002"
    assert averaged(tmp_path / "checkpoints" / "the best")[0] == 3


def test_the_last_one_is_that_of_the_last_step_however_long_the_run(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path, 1)
    for step in (999_998, 999_999, 1_000_000):
        saved.save(state(step))
    assert names(tmp_path) == ["1000000", "999999"]
    assert latest(tmp_path) == tmp_path / "checkpoints" / "1000000"


@pytest.mark.timeout(240)
def test_what_several_write_is_whole_when_it_is_said_to_be(tmp_path: Path) -> None:
    """Weights change while they are written; a disk is full in the end."""
    found = json.loads(run_program(PROGRAM, tmp_path / "found.json", count=2).read_text())
    assert found == {"step": 1, "values": [1.0], "after the failure": "000001"}


def _write_together(out: Path) -> None:
    saved, now = Checkpoints(out.parent, 1), state(1)
    saved.save(now)
    cast(dict[str, torch.Tensor], now["average"])["a"].zero_()
    saved.finish()
    if is_first():
        step, weights = averaged(out.parent)  # which no other process is asked for
    pytest.MonkeyPatch().setattr(checkpoints, "HuggingFaceStorageWriter", Full)
    saved.save(state(2))
    with pytest.raises(OSError, match=r"^no space left$"):
        saved.finish()
    if is_first():
        last = latest(out.parent)
        assert last is not None
        found = {"step": step, "values": sorted(set(weights["a"].flatten().tolist()))}
        out.write_text(json.dumps({**found, "after the failure": last.name}))


class Full(HuggingFaceStorageWriter):
    def write_data(self, *_: object) -> Any:
        raise OSError("no space left")


def test_a_full_disk_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "HuggingFaceStorageWriter", Full)
    with pytest.raises(OSError, match=r"^no space left$"):
        Checkpoints(tmp_path, 1).save(state(1))
    assert latest(tmp_path) is None


@pytest.mark.parametrize(
    ("pattern", "left", "said"),
    [
        ("*.safetensors", 100, "safetensors can't be read"),
        ("*.safetensors", 0, "safetensors can't be read"),
        ("*.safetensors", None, r"000001 lacks tensors that state\.json there names"),
        ("state.json", 100, r"state\.json is not JSON"),
    ],
)
def test_a_damaged_one_is_told_in_a_line(
    pattern: str, left: int | None, said: str, tmp_path: Path
) -> None:
    """Such as a copy that broke off."""
    Checkpoints(tmp_path, 1).save(state(1))
    (path,) = (tmp_path / "checkpoints" / "000001").glob(pattern)
    if left is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(CheckpointError, match=said):
        averaged(tmp_path)


def test_any_of_a_runs_checkpoints_can_be_taken(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path, 1)
    for step in (1, 2):
        saved.save(state(step))
    first = tmp_path / "checkpoints" / "000001"
    assert averaged(first)[0] == 1
    assert run_of(first) == run_of(tmp_path) == tmp_path


def test_a_run_of_the_last_release_goes_on(tmp_path: Path) -> None:
    """It has one file, written by torch.save."""
    whole, again = (trainer(tmp_path, plan_of(9, is_fine_tuning=True)) for _ in range(2))
    for step in range(2):
        whole.step(step, Examples(*batch()))
    torch.save(whole.learner.state(), tmp_path / "state.pt")
    last = latest(tmp_path)
    assert last == tmp_path / "state.pt"
    assert averaged(tmp_path)[0] == 2
    again.learner.restore(load(last, again.learner.weights_by_place()))
    losses = [
        [learning.step(step, Examples(*batch()))["loss"] for step in (2, 3)]
        for learning in (whole, again)
    ]
    assert losses[0] == losses[1]


def test_nothing_in_a_checkpoint_is_unpickled(tmp_path: Path) -> None:
    Checkpoints(tmp_path, 1).save(state(1))
    folder = tmp_path / "checkpoints" / "000001"
    kinds = {path.suffix for path in folder.iterdir()}
    assert kinds == {".json", ".safetensors"}
    assert json.loads((folder / "state.json").read_text())["map"][0] == ["step", 1]


if __name__ == "__main__":
    as_program(_write_together)
