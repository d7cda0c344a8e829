from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from models.families import prior_family
from models.files.checkpoint import open_checkpoint
from models.verify.check import Check
from models.verify.compare import check_all, checks_of, compare, run
from models.verify.recorded import Recorded
from models.verify.subject import Subject
from tests.models.golden import GOLDEN

FOLDER = GOLDEN / "rq_uncond_variants"


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject(open_checkpoint(FOLDER), Recorded.load(FOLDER))


def _checks(subject: Subject) -> dict[str, Check]:
    config = subject.preset.stage2
    every = checks_of(config)
    names = [name.rpartition("/")[2] for name in prior_family(config).recorded(config)]
    return {name: every[name] for name in names}


def test_every_recorded_array_and_loss_is_checked_and_within(subject: Subject) -> None:
    out = io.StringIO()
    assert run(FOLDER, FOLDER, out), out.getvalue()
    lines = out.getvalue().splitlines()
    verdicts = {line.split()[0] for line in lines if line.endswith("ok")}
    losses = {f"loss.{name}" for name in subject.recorded.info["loss"]}
    assert verdicts == _checks(subject).keys() | losses
    unchecked = [line.split()[0] for line in lines if "not checked" in line]
    assert unchecked == ["seeded_codes"]


def test_one_changed_number_is_a_miss(subject: Subject) -> None:
    for name, check in _checks(subject).items():
        numbers = Recorded.load(FOLDER)
        computed = check.compute(subject).numpy()
        assert compare(name, check, computed, numbers).is_within, name
        array = numbers.arrays[name]
        array[(0,) * array.ndim] += 1 if array.dtype.kind == "i" else 2 * check.tolerance
        assert not compare(name, check, computed, numbers).is_within, name


def test_a_changed_loss_is_a_miss(tmp_path: Path) -> None:
    facts = json.loads((FOLDER / "expected.json").read_text())
    facts["loss"]["img_soft"] += 0.01
    facts["loss"]["per_depth_soft"][2] += 0.01
    (tmp_path / "expected.json").write_text(json.dumps(facts))
    (tmp_path / "expected.npz").write_bytes((FOLDER / "expected.npz").read_bytes())
    changed = Subject(open_checkpoint(FOLDER), Recorded.load(tmp_path))
    missed = {result.name for result in check_all(changed) if not result.is_within}
    assert missed == {"loss.img_soft", "loss.per_depth_soft"}


def test_a_near_tie_excuses_the_deeper_codes_of_its_position_alone(subject: Subject) -> None:
    check = _checks(subject)["enc_codes"]
    computed = check.compute(subject).numpy()
    numbers = Recorded.load(FOLDER)
    numbers.arrays["enc_codes"][0, 1, 2, 1:] += 1
    assert compare("enc_codes", check, computed, numbers).error == 2
    numbers.arrays["enc_margin"][0, 1, 2, 1] = 1e-6
    assert compare("enc_codes", check, computed, numbers).is_within
    numbers.arrays["enc_codes"][0, 1, 3, 0] += 1
    assert compare("enc_codes", check, computed, numbers).error == 1
    assert np.array_equal(computed, check.compute(subject).numpy())
