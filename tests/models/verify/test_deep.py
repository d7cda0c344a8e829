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

# Whole sets: RQ's switches, and HQ's ways of drawing and of making a cell one token.
SETS = (
    "rq_uncond_variants",
    "hq_variants/causal",
    "hq_variants/bidirectional",
    "hq_variants/ratio16",
)


@pytest.fixture(scope="module", params=SETS)
def subject(request: pytest.FixtureRequest) -> Subject:
    folder = GOLDEN / request.param
    return Subject(open_checkpoint(folder), Recorded.load(folder))


@pytest.fixture(scope="module")
def rq() -> Subject:
    folder = GOLDEN / SETS[0]
    return Subject(open_checkpoint(folder), Recorded.load(folder))


def _checks(subject: Subject) -> dict[str, Check]:
    config = subject.preset.stage2
    every = checks_of(config)
    names = [name.rpartition("/")[2] for name in prior_family(config).recorded(config)]
    return {name: every[name] for name in names}


def _facts(subject: Subject) -> set[str]:
    """What of expected.json is checked, by the names of the report."""
    info = subject.recorded.info
    losses = {f"{part}.{name}" for part in ("loss", "vae") for name in info.get(part, {})}
    return losses | ({"train_grad_norm"} & info.keys())


def test_every_recorded_array_and_loss_is_checked_and_within(subject: Subject) -> None:
    out, folder = io.StringIO(), subject.recorded.folder
    assert run(folder, folder, out), out.getvalue()
    lines = out.getvalue().splitlines()
    verdicts = {line.split()[0] for line in lines if line.split()[3:4] == ["ok"]}
    assert verdicts == _checks(subject).keys() | _facts(subject)
    unchecked = [line.split()[0] for line in lines if "not checked" in line]
    assert unchecked
    assert all(name.startswith("seeded_codes") for name in unchecked)
    assert not [line for line in lines if line.endswith("absent")]


def test_one_changed_number_is_a_miss(subject: Subject) -> None:
    for name, check in _checks(subject).items():
        numbers = Recorded.load(subject.recorded.folder)
        computed = check.compute(subject).numpy()
        assert compare(name, check, computed, numbers).is_within, name
        array = numbers.arrays[name]
        array[(0,) * array.ndim] += 1 if array.dtype.kind == "i" else 2 * check.tolerance
        assert not compare(name, check, computed, numbers).is_within, name


@pytest.mark.parametrize(
    ("name", "changes", "missed"),
    [
        (SETS[0], {"loss.img_soft": 1.001}, {"loss.img_soft"}),
        (SETS[0], {"loss.per_depth_soft": 1.001}, {"loss.per_depth_soft"}),
        (SETS[1], {"loss.loss_bot": 1.001}, {"loss.loss_bot"}),
        (SETS[1], {"vae.commit_top": 1.01}, {"vae.commit_top"}),
        (SETS[1], {"train_grad_norm.ln_top.weight": 1.01}, {"train_grad_norm"}),
    ],
)
def test_a_changed_loss_is_a_miss(
    name: str, changes: dict[str, float], missed: set[str], tmp_path: Path
) -> None:
    folder = GOLDEN / name
    facts = json.loads((folder / "expected.json").read_text())
    for path, factor in changes.items():
        part, _, key = path.partition(".")
        value = facts[part][key]
        facts[part][key] = (
            [v * factor for v in value] if isinstance(value, list) else value * factor
        )
    (tmp_path / "expected.json").write_text(json.dumps(facts))
    (tmp_path / "expected.npz").write_bytes((folder / "expected.npz").read_bytes())
    changed = Subject(open_checkpoint(folder), Recorded.load(tmp_path))
    assert {result.name for result in check_all(changed) if not result.is_within} == missed


def test_a_near_tie_excuses_the_deeper_codes_of_its_position_alone(rq: Subject) -> None:
    check = _checks(rq)["enc_codes"]
    computed = check.compute(rq).numpy()
    numbers = Recorded.load(rq.recorded.folder)
    numbers.arrays["enc_codes"][0, 1, 2, 1:] += 1
    assert compare("enc_codes", check, computed, numbers).error == 2
    numbers.arrays["enc_margin"][0, 1, 2, 1] = 1e-6
    assert compare("enc_codes", check, computed, numbers).is_within
    numbers.arrays["enc_codes"][0, 1, 3, 0] += 1
    assert compare("enc_codes", check, computed, numbers).error == 1
    assert np.array_equal(computed, check.compute(rq).numpy())
