"""`mindalle verify`: a checkpoint folder against a set of recorded numbers.

Compares, judges and prints; what the checkpoint computes is `recomputed`'s. Tolerances are
for float32 on a CPU. A near-tie in the recorded margins excuses codes, because both are then right.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.families import prior_family
from models.files.checkpoint import open_checkpoint
from models.rq_configs import RQTransformerConfig
from models.verify import recomputed
from models.verify.recomputed import ARRAYS, Subject
from models.verify.recorded import AbsentError, Recorded
from models.verify.rq_recomputed import RQNumbers

_LOGITS = _PIXELS = 2e-4
_TOLERANCES = {"filt_probs": 1e-5, "soft_codes_temp05": 1e-5, "train_loss": 1e-3}
_LOSS = 1e-3
_GRADIENT = 1e-3  # relative, beside an absolute floor for gradients that are zero but for rounding
_GRADIENT_FLOOR = 1e-6
_NEAR_TIE = {"greedy_codes": ("greedy_margin", 2 * _LOGITS), "enc_codes": ("enc_margin", 1e-4)}
_INPUTS = {
    *("tf_tokens", "tf_codes", "tf_labels", "greedy_prompt_index", "greedy_labels"),
    *("greedy_margin", "enc_margin", "filt_logits", "filt_params", "dec_codes", "enc_images"),
    *("train_labels", "train_images_are_enc_images", "transfer_head_weight", "transfer_sos"),
    *("tf_cond", "greedy_cond"),
}
_WITH_DEPTH = 4  # axes of codes with several depths: row, h, w, depth
_OPTIONAL = {"seeded_codes": "it ties a model to one torch version's global generator"}


@dataclass(frozen=True, slots=True)
class Result:
    """One array's verdict. `error` is the worst one; codes count the places that differ."""

    name: str
    error: float
    tolerance: float
    note: str = ""

    @property
    def is_within(self) -> bool:
        """False for NaN, too."""
        return self.error <= self.tolerance


def run(checkpoint_dir: Path, expected_dir: Path, file: TextIO | None = None) -> bool:
    """Print every array's worst error beside its tolerance; True if all are within.

    Args:
        checkpoint_dir: in any layout that loads.
        expected_dir: holds expected.npz and, mostly, expected.json.
        file: where the report goes, standard output by default.

    Raises:
        CheckpointError: a folder can't be used at all.
    """
    out = file or sys.stdout
    numbers = Recorded.load(expected_dir)
    subject = Subject(open_checkpoint(checkpoint_dir), numbers)
    print(f"{'array':<20} {'worst error':>12} {'tolerance':>10}", file=out)
    known = set(arrays_of(subject))
    results = []
    for result in check_all(subject):
        results.append(result)
        verdict = "ok" if result.is_within else "MISS"
        row = f"{result.name:<20} {result.error:>12.3g} {result.tolerance:>10.0e}  {verdict}"
        print(f"{row}  {result.note}".rstrip(), file=out, flush=True)
    checked = {result.name for result in results}
    for line in _not_checked(subject, known, checked):
        print(line, file=out)
    num_missed = sum(not result.is_within for result in results)
    num_skipped = len(_skipped(subject.recorded, known, checked))
    print(f"{len(results)} arrays checked, {num_missed} missed, {num_skipped} skipped", file=out)
    return bool(results) and num_missed + num_skipped == 0


def check_all(subject: Subject) -> Iterator[Result]:
    """Compare every recorded array that can be computed."""
    for name, compute in arrays_of(subject).items():
        if name in subject.recorded.arrays:
            yield from _check(name, compute, subject.recorded)
    yield from _check_losses(subject)
    yield from _check_gradients(subject)
    yield from _check_transfer_keys(subject)


def arrays_of(subject: Subject) -> dict[str, Callable[[], Tensor]]:
    """What computes each array of this kind of model, by the array's name."""
    if isinstance(subject.checkpoint.preset.stage2, RQTransformerConfig):
        return RQNumbers(subject).arrays()
    return {name: partial(compute, subject) for name, compute in ARRAYS.items()}


def _check(name: str, compute: Callable[[], Tensor], numbers: Recorded) -> Iterator[Result]:
    tolerance = _tolerance(name, numbers)
    try:
        computed = compute().numpy()
    except AbsentError:
        return
    except (RuntimeError, ValueError, IndexError) as error:  # numbers of another model
        yield Result(name, np.inf, tolerance, f"can't be computed: {error}")
        return
    yield compare(name, computed, numbers)


def compare(name: str, computed: NDArray[Any], numbers: Recorded) -> Result:
    """Judge one array."""
    wanted, tolerance = numbers.arrays[name], _tolerance(name, numbers)
    if computed.shape != wanted.shape:
        note = f"shape {computed.shape}, recorded {wanted.shape}"
        return Result(name, np.inf, tolerance, note)
    if name in _NEAR_TIE or name == "token_ids":
        return _compare_codes(name, computed, numbers)
    if name == "filt_probs":
        computed, wanted = (_without_order_in_ties(probs, numbers) for probs in (computed, wanted))
    errors = np.abs(computed.astype(np.float64) - wanted.astype(np.float64))
    return Result(name, float(errors.max(initial=0)), tolerance)


def _compare_codes(name: str, computed: NDArray[Any], numbers: Recorded) -> Result:
    differs = computed != numbers.arrays[name]
    margin_name, least = _NEAR_TIE.get(name, ("", 0.0))
    margins = numbers.arrays.get(margin_name)
    if margins is None or margins.shape != differs.shape:
        return Result(name, int(differs.sum()), 0)
    is_tie = margins < least
    # What follows a near-tie follows from another code: of a row, or of a position's depths.
    if name == "greedy_codes":
        flat = is_tie.reshape(len(is_tie), -1)
        is_tie = np.logical_or.accumulate(flat, axis=-1).reshape(is_tie.shape)
    elif is_tie.ndim == _WITH_DEPTH:
        is_tie = np.logical_or.accumulate(is_tie, axis=-1)
    excused = int((differs & is_tie).sum())
    note = f"{excused} differ after near-ties" if excused else ""
    return Result(name, int((differs & ~is_tie).sum()), 0, note)


def _without_order_in_ties(probs: NDArray[Any], numbers: Recorded) -> NDArray[Any]:
    """Probabilities [C, R, V], those of equal logits sorted wherever a nucleus is cut.

    Which of equal logits such a cut leaves is the sort's choice; how many, and what each gets then,
    is not.
    """
    logits, top_p = numbers.arrays["filt_logits"], numbers.arrays["filt_params"][:, 2]
    order = np.lexsort((probs, np.broadcast_to(logits, probs.shape)), axis=-1)
    is_cut = (top_p >= 0)[:, None, None]
    return np.where(is_cut, np.take_along_axis(probs, order, -1), probs)


def _check_losses(subject: Subject) -> Iterator[Result]:
    """Of the RQ family expected.json has training losses, some of them one per depth."""
    wanted = subject.recorded.info.get("loss", {})
    config = subject.checkpoint.preset.stage2
    if not wanted or not isinstance(config, RQTransformerConfig):
        return
    try:
        found = RQNumbers(subject).losses()
    except AbsentError:
        return
    for name, value in wanted.items():
        values = value if isinstance(value, list) else [value]
        names = [f"{name}.{i}" for i in range(len(values))] if isinstance(value, list) else [name]
        errors = [abs(found.get(n, np.inf) - v) for n, v in zip(names, values, strict=True)]
        yield Result(f"loss.{name}", max(errors), _LOSS)


def _check_gradients(subject: Subject) -> Iterator[Result]:
    wanted: dict[str, float] = subject.recorded.info.get("train_grad_norm", {})
    if not wanted:
        return
    try:
        found = recomputed.gradient_norms(subject)
    except AbsentError:
        return
    errors = {
        name: max(abs(found.get(name, np.inf) - norm) - _GRADIENT_FLOOR, 0) / max(norm, 1e-12)
        for name, norm in wanted.items()
    }
    worst = max(errors, key=lambda name: errors[name])
    yield Result("train_grad_norm", errors[worst], _GRADIENT, f"relative, worst at {worst}")


def _check_transfer_keys(subject: Subject) -> Iterator[Result]:
    """Which of the upstream text model's keys are taken over, and which stay fresh."""
    if "transfer" not in subject.recorded.info:
        return
    try:
        report = recomputed.transfer_keys(subject)
    except AbsentError:
        return
    transfer = subject.recorded.info["transfer"]
    wrong = set(report.missing) ^ set(transfer.get("missing", report.missing))
    wrong |= set(report.unexpected) ^ set(transfer.get("unexpected", report.unexpected))
    yield Result("transfer keys", len(wrong), 0, ", ".join(sorted(wrong)))


def _skipped(numbers: Recorded, known: set[str], checked: set[str]) -> set[str]:
    """Arrays that should have been checked; those of the transfer need another folder beside."""
    skipped = (numbers.arrays.keys() & known) - checked - _OPTIONAL.keys()
    return {name for name in skipped if not name.startswith("transfer_")}


def _not_checked(subject: Subject, known: set[str], checked: set[str]) -> Iterator[str]:
    numbers = subject.recorded
    for name in sorted(numbers.arrays.keys() - checked - _INPUTS):
        reason = "unknown array"
        if name in _OPTIONAL:
            reason = f"optional: {_OPTIONAL[name]}"
        elif name in known:
            reason = "what it is computed from is absent"
        yield f"{name:<20} not checked ({reason})"
    config = subject.checkpoint.preset.stage2
    expected = prior_family(config).recorded(config)
    for name in sorted(known):
        if name in expected and name not in numbers.arrays:
            yield f"{name:<20} absent"


def _tolerance(name: str, numbers: Recorded) -> float:
    is_exact = numbers.arrays[name].dtype.kind in "iu"
    return 0.0 if is_exact else _TOLERANCES.get(name, _LOGITS)
