"""One run in one process and shared by several, kept whole (DDP) and in shards (FSDP2)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from models.train.loop.engine import Engine
from tests.models.train.loop.sharing import learn
from tests.models.train.recipes.test_transformer import batch, tiny
from tests.models.train.torchrun import run_program

PROGRAM = "tests.models.train.loop.sharing"


def found(path: Path) -> dict[str, Any]:
    """What a program has written: losses by step, the sum of averaged weights."""
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def run(folder: Path, *arguments: str, count: int = 1) -> dict[str, Any]:
    """Of so many processes; one is this."""
    folder.mkdir(exist_ok=True)
    out = folder / "found.json"
    if count == 1:
        learn(out, *arguments)
        return found(out)
    return found(run_program(PROGRAM, out, *arguments, count=count))


@pytest.mark.timeout(240)
def test_shards_learn_the_same_and_one_process_goes_on_with_them(tmp_path: Path) -> None:
    """Muon in two shards and two parts of a batch, blocks computed again in the backward pass."""
    whole = run(tmp_path / "whole", "tiny", "ddp", "muon", "1", "6")
    parted = run(tmp_path / "parted", "tiny", "fsdp", "muon", "2", "4", count=2)
    last = run(tmp_path / "parted", "tiny", "ddp", "muon", "1", "6")
    assert [*parted["losses"], *last["losses"]] == list(whole["losses"])
    assert parted["losses"] | last["losses"] == pytest.approx(whole["losses"], rel=1e-5)
    assert last["sum"] == pytest.approx(whole["sum"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("name", "optimiser"), [("tiny", "adamw"), ("tiny", "muon"), ("wide", "adamw")]
)
def test_the_curve_is_that_of_one_process(name: str, optimiser: str, tmp_path: Path) -> None:
    """Over 50 steps; `-s` shows how far each way of sharing is off."""
    whole = run(tmp_path / "one", name, "ddp", optimiser, "1", "50")
    shared = [(2, "ddp", "1"), (4, "ddp", "1"), (2, "fsdp", "1"), (4, "fsdp", "1"), (1, "ddp", "4")]
    for count, mode, parts in shared:
        how = f"{mode}-{count}-{parts}"
        other = run(tmp_path / how, name, mode, optimiser, parts, "50", count=count)
        pairs = [(whole["losses"][step], loss) for step, loss in other["losses"].items()]
        furthest = max(abs(loss / expected - 1) for expected, loss in pairs)
        sys.stdout.write(f"\n{name} {optimiser} {how}: {len(pairs)} steps, {furthest:.1e}")
        assert other["losses"] == pytest.approx(whole["losses"], rel=1e-5), how
        assert other["sum"] == pytest.approx(whole["sum"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_another_number_of_processes_goes_on(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", "tiny", "ddp", "adamw", "1", "12")
    losses: dict[str, float] = {}
    for count, mode, until in (
        (4, "fsdp", "3"),
        (1, "ddp", "5"),
        (2, "ddp", "8"),
        (2, "fsdp", "12"),
    ):
        losses |= run(tmp_path / "run", "tiny", mode, "adamw", "1", until, count=count)["losses"]
    assert losses == pytest.approx(whole["losses"], rel=1e-5)


def test_what_is_computed_again_gives_the_same_gradients() -> None:
    gradients = []
    for engine in (Engine(), Engine(recomputes=True)):
        model = tiny()
        loss = engine.prepared(model, model.loss)(*batch())
        torch.autograd.backward(loss)
        gradients.append({k: v.grad for k, v in model.named_parameters() if v.grad is not None})
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
