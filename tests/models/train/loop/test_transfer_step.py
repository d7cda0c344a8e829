"""A step of the 1.3B transfer on a CPU, of one picture: 13 GiB with bfloat16 weights."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.models.train.torchrun import ENVIRONMENT

_PROGRAM = "tests.models.train.loop.transfer_step"


def step(n_layers: int, batch: int, how: str) -> dict[str, float]:
    command = [sys.executable, "-m", _PROGRAM, str(n_layers), str(batch), how]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout)
    return found


@pytest.mark.weights
@pytest.mark.timeout(3600)
def test_activations_that_are_computed_again_take_less_memory() -> None:
    kept, again = (step(42, 1, how) for how in ("kept", "again"))
    sys.stdout.write(f"\nkept: {kept}\ncomputed again: {again}\n")
    assert again["loss"] == pytest.approx(kept["loss"], rel=1e-3)
    assert again["peak_gib"] < kept["peak_gib"]
