import io
import json
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.errors import ConfigError, CorruptFileError, MissingFileError
from models.files.checkpoint import open_checkpoint
from models.verify.check import Check, Result, Tie
from models.verify.compare import CHECKS, run
from models.verify.compare import compare as compare_by
from models.verify.recorded import Recorded
from models.verify.subject import Subject
from tests.models.golden import GOLDEN, SETS

# What the golden README names for each kind of set, its one optional array aside.
_CODEC = {"dec_raw", "dec_pixels", "enc_prequant", "enc_codes", "enc_recon_raw", "e2e_pixels"}
_TEXT = {"token_ids", "tf_logits_img", "tf_logits_txt", "cached_logits_img", "filt_probs"}
_IMAGEGPT = {"tf_logits", "cached_logits", "train_loss", "transfer_logits", "train_grad_norm"}


def _verify(checkpoint: Path, expected: Path) -> tuple[bool, list[str]]:
    out = io.StringIO()
    is_same = run(checkpoint, expected, out)
    return is_same, out.getvalue().splitlines()


def _with(lines: list[str], word: str) -> set[str]:
    return {line.split()[0] for line in lines if word in line.split()}


@pytest.fixture
def expected(tmp_path: Path) -> Path:
    """A copy of the text model's recorded numbers that a test may change."""
    folder = tmp_path / "expected"
    folder.mkdir()
    for name in ("expected.npz", "expected.json"):
        shutil.copy(GOLDEN / "mindalle_text" / name, folder)
    return folder


def _change(folder: Path, **changed: Any) -> None:
    with np.load(folder / "expected.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, value in changed.items():
        if value is None:
            del arrays[name]
        else:
            arrays[name] = value(arrays[name]) if callable(value) else value
    np.savez(folder / "expected.npz", **arrays)


@pytest.mark.parametrize("name", SETS)
def test_every_named_array_is_checked_and_within(name: str) -> None:
    is_same, lines = _verify(GOLDEN / name, GOLDEN / name)
    of_kind = _TEXT if name == "mindalle_text" else _IMAGEGPT
    assert is_same, "\n".join(lines)
    assert _with(lines, "ok") >= _CODEC | of_kind | {"greedy_codes"}
    assert not _with(lines, "MISS")
    assert not _with(lines, "absent")


@pytest.fixture(scope="module")
def computed() -> dict[str, NDArray[Any]]:
    """What the text model computes, once for all comparisons."""
    folder = GOLDEN / "mindalle_text"
    subject = Subject(open_checkpoint(folder), Recorded.load(folder))
    names = CHECKS.keys() & subject.recorded.arrays.keys()
    return {name: CHECKS[name].compute(subject).numpy() for name in names}


def compare(name: str, computed: NDArray[Any], numbers: Recorded) -> Result:
    return compare_by(name, CHECKS[name], computed, numbers)


@pytest.mark.parametrize(
    ("array", "change"),
    [
        ("token_ids", 1),
        ("tf_logits_img", 0.001),
        ("tf_logits_txt", 0.001),
        ("cached_logits_img", 0.001),
        ("greedy_codes", 1),
        ("filt_probs", 1e-4),
        ("dec_raw", 0.001),
        ("dec_pixels", 0.001),
        ("enc_prequant", 0.001),
        ("enc_codes", 1),
        ("enc_recon_raw", 0.001),
        ("e2e_pixels", 0.001),
    ],
)
def test_one_changed_number_is_a_miss(
    array: str, change: float, computed: dict[str, NDArray[Any]]
) -> None:
    numbers = Recorded.load(GOLDEN / "mindalle_text")
    assert compare(array, computed[array], numbers).is_within
    numbers.arrays[array][(0,) * numbers.arrays[array].ndim] += change
    assert not compare(array, computed[array], numbers).is_within


def test_a_miss_is_of_the_changed_array_alone(expected: Path) -> None:
    _change(expected, greedy_codes=lambda codes: (codes + 1) % 256, dec_raw=lambda raw: raw + 1)
    is_same, lines = _verify(GOLDEN / "mindalle_text", expected)
    assert not is_same
    assert _with(lines, "MISS") == {"greedy_codes", "dec_raw"}


def test_nan_and_another_shape_are_misses(computed: dict[str, NDArray[Any]]) -> None:
    numbers = Recorded.load(GOLDEN / "mindalle_text")
    assert not compare("dec_raw", computed["dec_raw"] * np.nan, numbers).is_within
    short = compare("tf_logits_img", computed["tf_logits_img"][:, :-1], numbers)
    assert not short.is_within
    assert short.note == "shape (2, 255, 256), recorded (2, 256, 256)"


def test_unknown_and_absent_arrays_are_listed(expected: Path) -> None:
    _change(expected, dec_raw=None, moonlight=np.zeros(3), filt_logits=None)
    is_same, lines = _verify(GOLDEN / "mindalle_text", expected)
    assert not is_same  # filt_probs is recorded, and what it is computed from is not
    report = "\n".join(lines)
    assert "moonlight            not checked (unknown array)" in report
    assert "dec_raw              absent" in report
    assert "filt_probs           not checked (what it is computed from is absent)" in report
    assert "seeded_codes         not checked (optional" in report


def test_an_array_that_can_not_be_computed_is_no_success(expected: Path) -> None:
    (expected / "expected.json").unlink()  # it holds the prompts
    is_same, lines = _verify(GOLDEN / "mindalle_text", expected)
    assert not is_same
    assert lines[-1].endswith("0 missed, 3 skipped")


def test_a_near_tie_excuses_a_code_and_nothing_else(computed: dict[str, NDArray[Any]]) -> None:
    numbers = Recorded.load(GOLDEN / "mindalle_text")
    numbers.arrays["greedy_codes"][1, 40:] += 1
    assert compare("greedy_codes", computed["greedy_codes"], numbers).error == 216
    numbers.arrays["greedy_margin"][1, 40] = 1e-6
    excused = compare("greedy_codes", computed["greedy_codes"], numbers)
    assert excused.is_within
    assert excused.note == "216 differ after near-ties"
    numbers.arrays["greedy_margin"][1, 40] = 1
    numbers.arrays["greedy_margin"][1, 41] = 1e-6
    assert compare("greedy_codes", computed["greedy_codes"], numbers).error == 1


def _swap_rows(array: NDArray[Any]) -> NDArray[Any]:
    """Of filt_logits or filt_probs: row 3, with its seven equal logits, becomes row 5."""
    return array[..., [0, 1, 2, 5, 4, 3], :]


def test_a_nucleus_cut_between_equal_logits_is_excused_in_any_row(
    expected: Path, computed: dict[str, NDArray[Any]]
) -> None:
    _change(expected, filt_logits=_swap_rows, filt_probs=_swap_rows)
    is_same, lines = _verify(GOLDEN / "mindalle_text", expected)
    assert is_same, "\n".join(lines)
    ours, wanted = _swap_rows(computed["filt_probs"]), Recorded.load(expected).arrays["filt_probs"]
    assert np.abs(ours - wanted)[:, 5].max() > 0.01  # the recorded sort kept others of the seven


@pytest.mark.parametrize("setting", [5, 8])
@pytest.mark.parametrize("row", [3, 5])
def test_a_wrong_probability_beside_a_tie_is_a_miss(
    row: int, setting: int, computed: dict[str, NDArray[Any]]
) -> None:
    numbers = Recorded.load(GOLDEN / "mindalle_text")
    probs = numbers.arrays["filt_probs"][setting, row]
    probs[probs.argmax()] += 1e-4
    assert not compare("filt_probs", computed["filt_probs"], numbers).is_within


def test_a_nucleus_that_keeps_one_more_of_the_equals_is_a_miss(
    computed: dict[str, NDArray[Any]],
) -> None:
    numbers = Recorded.load(GOLDEN / "mindalle_text")
    logits, probs = numbers.arrays["filt_logits"][3], numbers.arrays["filt_probs"][5, 3]
    tied = logits == np.partition(logits, -9)[-9]
    assert 0 < (probs[tied] > 0).sum() < tied.sum() == 7  # the cut falls among them
    probs[np.flatnonzero(tied & (probs == 0))[0]] = probs[tied].max()
    probs /= probs.sum()
    assert not compare("filt_probs", computed["filt_probs"], numbers).is_within


@pytest.mark.parametrize(("excuses", "num_missed"), [("itself", 7), ("depths", 6), ("row", 4)])
def test_a_tie_excuses_what_follows_from_it(
    excuses: Literal["itself", "row", "depths"], num_missed: int
) -> None:
    wanted = np.zeros((2, 2, 2), np.int32)  # rows, steps, depths
    margins = np.ones(wanted.shape)
    margins[1, 0, 0] = 0
    numbers = Recorded(Path(), {"codes": wanted, "margins": margins}, {})
    check = Check(lambda _: torch.ones(2, 2, 2), tie=Tie("margins", 0.5, excuses))
    assert compare_by("codes", check, wanted + 1, numbers).error == num_missed


def test_other_weights_miss(tmp_path: Path) -> None:
    model = Path(shutil.copytree(GOLDEN / "igpt_uncond", tmp_path / "model"))
    path = model / "stage2_last.ckpt"
    content = torch.load(path, weights_only=True)
    content["state_dict"]["blocks.2.attn.key.weight"].mul_(1.5)
    torch.save(content, path)
    is_same, lines = _verify(model, GOLDEN / "igpt_uncond")
    assert not is_same
    missed = _with(lines, "MISS")
    assert {"tf_logits", "cached_logits", "train_grad_norm"} <= missed
    assert not missed & (_CODEC - {"e2e_pixels"})


def test_without_the_upstream_model_its_arrays_are_not_checked(tmp_path: Path) -> None:
    expected = Path(shutil.copytree(GOLDEN / "igpt_uncond", tmp_path / "alone"))
    is_same, lines = _verify(expected, expected)
    assert is_same
    assert "transfer_logits      not checked (what it is computed from is absent)" in lines


def test_numbers_of_another_model_miss_instead_of_raising() -> None:
    is_same, lines = _verify(GOLDEN / "igpt_cls", GOLDEN / "mindalle_text")
    assert not is_same
    assert "MISS" in "\n".join(lines)


def test_inputs_that_another_model_can_not_take_are_told_with_their_set() -> None:
    with pytest.raises(ConfigError, match="igpt_cls was not recorded of such a model: "):
        _verify(GOLDEN / "mindalle_text", GOLDEN / "igpt_cls")


def test_a_set_with_nothing_to_check_is_no_success(expected: Path) -> None:
    np.savez(expected / "expected.npz", moonlight=np.zeros(2))
    (expected / "expected.json").write_text(json.dumps({}))
    is_same, lines = _verify(GOLDEN / "mindalle_text", expected)
    assert not is_same
    assert lines[-1] == "0 arrays checked, 0 missed, 0 skipped"


def test_unreadable_numbers_are_named(expected: Path) -> None:
    for data in (b"PK\x03\x04 and no more", b"\x80 numpy would have it unpickled"):
        (expected / "expected.npz").write_bytes(data)
        with pytest.raises(CorruptFileError, match=r"expected: File is not a zip file"):
            run(GOLDEN / "mindalle_text", expected)
    (expected / "expected.npz").unlink()
    with pytest.raises(MissingFileError, match=r"expected\.npz"):
        run(GOLDEN / "mindalle_text", expected)
