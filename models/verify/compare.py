"""`mindalle verify`: a checkpoint folder against a set of recorded numbers.

Compares, judges and prints; what the checkpoint computes, and how near it must come, is in the
checks of `recomputed`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from models.files.checkpoint import open_checkpoint
from models.verify.check import Check
from models.verify.of_prior import gradient_norms, transfer_keys
from models.verify.of_rq import losses
from models.verify.recomputed import checks_of, expected_of
from models.verify.recorded import AbsentError, Recorded
from models.verify.subject import Subject

_LOSS = 1e-3
_GRADIENT = 1e-3  # relative, beside an absolute floor for gradients that are zero but for rounding
_GRADIENT_FLOOR = 1e-6
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
    results = []
    for result in check_all(subject):
        results.append(result)
        verdict = "ok" if result.is_within else "MISS"
        row = f"{result.name:<20} {result.error:>12.3g} {result.tolerance:>10.0e}  {verdict}"
        print(f"{row}  {result.note}".rstrip(), file=out, flush=True)
    checked = {result.name for result in results}
    for line in _not_checked(subject, checked):
        print(line, file=out)
    num_missed = sum(not result.is_within for result in results)
    num_skipped = len(_skipped(subject, checked))
    print(f"{len(results)} arrays checked, {num_missed} missed, {num_skipped} skipped", file=out)
    return bool(results) and num_missed + num_skipped == 0


def check_all(subject: Subject) -> Iterator[Result]:
    """Compare every recorded array that can be computed."""
    for name, check in checks_of(subject.preset.stage2).items():
        if name in subject.recorded.arrays:
            yield from _check(name, check, subject)
    yield from _check_losses(subject)
    yield from _check_gradients(subject)
    yield from _check_transfer_keys(subject)


def _check(name: str, check: Check, subject: Subject) -> Iterator[Result]:
    try:
        computed = check.compute(subject).numpy()
    except AbsentError:
        return
    except (RuntimeError, ValueError, IndexError) as error:  # numbers of another model
        yield Result(name, np.inf, check.tolerance, f"can't be computed: {error}")
        return
    yield compare(name, check, computed, subject.recorded)


def compare(name: str, check: Check, computed: NDArray[Any], numbers: Recorded) -> Result:
    """Judge one array."""
    wanted = numbers.arrays[name]
    if computed.shape != wanted.shape:
        note = f"shape {computed.shape}, recorded {wanted.shape}"
        return Result(name, np.inf, check.tolerance, note)
    if wanted.dtype.kind in "iu":
        return _compare_codes(name, check, computed, numbers)
    if check.align:
        computed, wanted = check.align(computed, numbers), check.align(wanted, numbers)
    errors = np.abs(computed.astype(np.float64) - wanted.astype(np.float64))
    return Result(name, float(errors.max(initial=0)), check.tolerance)


def _compare_codes(name: str, check: Check, computed: NDArray[Any], numbers: Recorded) -> Result:
    differs = computed != numbers.arrays[name]
    margins = numbers.arrays.get(check.tie.margins) if check.tie else None
    if check.tie is None or margins is None or margins.shape != differs.shape:
        return Result(name, int(differs.sum()), 0)
    is_tie = margins < check.tie.least
    if check.tie.does_spread:
        rows = is_tie.reshape(*is_tie.shape[: check.tie.row_axes], -1)
        is_tie = np.logical_or.accumulate(rows, axis=-1).reshape(is_tie.shape)
    excused = int((differs & is_tie).sum())
    note = f"{excused} differ after near-ties" if excused else ""
    return Result(name, int((differs & ~is_tie).sum()), 0, note)


def _check_losses(subject: Subject) -> Iterator[Result]:
    """Training losses that expected.json has by name, a list where there is one per depth."""
    wanted: dict[str, float | list[float]] = subject.recorded.info.get("loss", {})
    if not wanted:
        return
    try:
        found = losses(subject)
    except AbsentError:
        return
    for name, value in wanted.items():
        values, computed = value if isinstance(value, list) else [value], found.get(name, [])
        errors = [abs(a - b) for a, b in zip_longest(values, computed, fillvalue=np.inf)]
        yield Result(f"loss.{name}", max(errors, default=np.inf), _LOSS)


def _check_gradients(subject: Subject) -> Iterator[Result]:
    wanted: dict[str, float] = subject.recorded.info.get("train_grad_norm", {})
    if not wanted:
        return
    try:
        found = gradient_norms(subject)
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
        report = transfer_keys(subject)
    except AbsentError:
        return
    transfer = subject.recorded.info["transfer"]
    wrong = set(report.missing) ^ set(transfer.get("missing", report.missing))
    wrong |= set(report.unexpected) ^ set(transfer.get("unexpected", report.unexpected))
    yield Result("transfer keys", len(wrong), 0, ", ".join(sorted(wrong)))


def _skipped(subject: Subject, checked: set[str]) -> set[str]:
    """Arrays that should have been checked; those of the transfer need another folder beside."""
    known = checks_of(subject.preset.stage2).keys()
    skipped = (subject.recorded.arrays.keys() & known) - checked
    return {name for name in skipped if not name.startswith("transfer_")}


def _not_checked(subject: Subject, checked: set[str]) -> Iterator[str]:
    arrays, config = subject.recorded.arrays, subject.preset.stage2
    checks = checks_of(config)
    inputs = {name for check in checks.values() for name in check.inputs}
    inputs |= {check.tie.margins for check in checks.values() if check.tie}
    for name in sorted(arrays.keys() - checked - inputs):
        reason = "unknown array"
        if name in _OPTIONAL:
            reason = f"optional: {_OPTIONAL[name]}"
        elif name in checks:
            reason = "what it is computed from is absent"
        yield f"{name:<20} not checked ({reason})"
    for name in expected_of(config):
        if name.rpartition("/")[2] not in arrays:
            yield f"{name:<20} absent"
