"""ru-DALL-E's recorded numbers, and recorded masks, which belong to no checkpoint."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.families import prior_family
from models.files.checkpoint import open_checkpoint
from models.verify.compare import checks_of, compare, run
from models.verify.recorded import Recorded
from models.verify.subject import Subject
from tests.models.golden import GOLDEN

RUDALLE, MASKS = GOLDEN / "rudalle", GOLDEN / "dalle_masks"


def test_every_array_and_loss_of_both_versions_is_within() -> None:
    out = io.StringIO()
    assert run(RUDALLE, RUDALLE, out), out.getvalue()
    lines = out.getvalue().splitlines()
    verdicts = {line.split()[0] for line in lines if line.endswith("ok")}
    config = open_checkpoint(RUDALLE).preset.stage2
    losses = {f"{v}_loss.{part}" for v in ("v2", "v3") for part in ("text", "image", "total")}
    assert verdicts == prior_family(config).recorded(config) | losses
    assert not [line for line in lines if "not checked" in line or "absent" in line]


def test_one_changed_number_is_a_miss() -> None:
    subject = Subject(open_checkpoint(RUDALLE), Recorded.load(RUDALLE))
    for name in prior_family(subject.preset.stage2).recorded(subject.preset.stage2):
        check, numbers = checks_of(subject.preset.stage2)[name], Recorded.load(RUDALLE)
        computed = check.compute(subject).numpy()
        assert compare(name, check, computed, numbers).is_within, name
        array = numbers.arrays[name]
        array[(0,) * array.ndim] += 1 if array.dtype.kind == "i" else 2 * check.tolerance
        assert not compare(name, check, computed, numbers).is_within, name


def test_recorded_masks_need_no_checkpoint() -> None:
    out = io.StringIO()
    assert run(None, MASKS, out), out.getvalue()
    assert "42 arrays checked, 0 missed, 0 skipped" in out.getvalue()


def test_a_changed_mask_and_an_array_of_a_model_are_told(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MASKS, tmp_path / "changed"))
    numbers = Recorded.load(folder).arrays
    numbers["n6_w4_k3_row"][-1, 0] ^= True
    numbers["rect_n3_h3_w5_k3_row"] = numbers["rect_n3_h3_w5_k3_row"][:-1]
    np.savez(folder / "expected.npz", v3_logits=np.zeros(3), **numbers)  # type: ignore[arg-type]  # its stub takes the arrays for flags
    out = io.StringIO()
    assert not run(None, folder, out)
    missed = [line.split()[0] for line in out.getvalue().splitlines() if "MISS" in line]
    assert missed == ["n6_w4_k3_row", "rect_n3_h3_w5_k3_row"]
    assert "v3_logits            not checked (nothing here computes it)" in out.getvalue()
    assert "42 arrays checked, 2 missed, 1 skipped" in out.getvalue()


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_the_rules_of_the_other_version_miss(version: str) -> None:
    subject = Subject(open_checkpoint(RUDALLE), Recorded.load(RUDALLE))
    other = "v3" if version == "v2" else "v2"
    check = checks_of(subject.preset.stage2)[f"{other}_logits"]
    computed = check.compute(subject).numpy()
    assert not compare(f"{version}_logits", check, computed, subject.recorded).is_within
