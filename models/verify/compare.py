"""`mindalle verify`: a checkpoint folder against a set of recorded numbers.

Compares, judges and prints; what the checkpoint computes, and how near it must come, is in the
checks of `recomputed` and its like. Some sets are of definitions alone and need no checkpoint.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from models.configs.prior import PriorConfig
from models.errors import ConfigError, is_out_of_memory
from models.families import prior_family
from models.files.checkpoint import open_checkpoint
from models.verify import (
    of_dalle,
    of_dmol,
    of_hq,
    of_masks,
    of_pixels,
    of_rq,
    of_scales,
    of_taming,
    pixel_sets,
    recomputed,
)
from models.verify.check import Check, Formula, Result
from models.verify.recorded import AbsentError, Recorded
from models.verify.subject import Subject

# Each family with arrays of its own joins here.
_PARTS = (recomputed, of_rq, of_hq, of_scales, of_taming, of_dalle)
CHECKS: dict[str, Check] = {name: check for part in _PARTS for name, check in part.CHECKS.items()}
INPUTS = {name for part in _PARTS for name in part.INPUTS}
INPUTS |= {check.tie.margins for check in CHECKS.values() if check.tie}
FACTS = [facts for part in _PARTS for facts in part.FACTS]
FORMULAS: tuple[Formula, ...] = (of_dmol.mixtures, of_masks.masks, of_masks.layer_patterns)
_FORMULA_INPUTS = of_dmol.INPUTS
_OPTIONAL = "seeded_codes"  # and what it is called at each level


def run(checkpoint_dir: Path | None, expected_dir: Path, file: TextIO | None = None) -> bool:
    """Print every array's worst error beside its tolerance; True if all are within.

    Args:
        checkpoint_dir: in any layout that loads; None for a set of definitions.
        expected_dir: holds expected.npz and, mostly, expected.json.
        file: where the report goes, standard output by default.

    Raises:
        CheckpointError: a folder can't be used at all.
    """
    out = file or sys.stdout
    numbers = Recorded.load(expected_dir)
    try:
        return _run(checkpoint_dir, numbers, out)
    except (IndexError, RuntimeError) as error:  # sizes that don't fit each other
        if is_out_of_memory(error) or isinstance(error, NotImplementedError):
            raise
        raise ConfigError(f"{expected_dir} was not recorded of such a model: {error}") from error


def _run(checkpoint_dir: Path | None, numbers: Recorded, out: TextIO) -> bool:
    if checkpoint_dir is None:
        found = (result for formula in FORMULAS for result in formula(numbers))
        return _report(found, numbers, _FORMULA_INPUTS, out)
    if pixel_sets.is_set(checkpoint_dir):
        inputs = {name for name in numbers.arrays if of_pixels.is_input(name)}
        return _report(pixel_sets.results(checkpoint_dir, numbers), numbers, inputs, out)
    subject = Subject(open_checkpoint(checkpoint_dir, codec_alone=True), numbers)
    results = _printed(check_all(subject), out)
    checked = {result.name for result in results}
    for line in _not_checked(subject, checked):
        print(line, file=out)
    return _concluded(results, len(_skipped(subject, checked)), out)


def _report(
    found: Iterable[Result], numbers: Recorded, inputs: Collection[str], out: TextIO
) -> bool:
    """Of a set whose every array is either checked or what others are computed from."""
    results = _printed(found, out)
    left = sorted(numbers.arrays.keys() - {result.name for result in results} - set(inputs))
    for name in left:
        print(f"{name:<20} not checked (nothing here computes it)", file=out)
    return _concluded(results, len(left), out)


def _printed(results: Iterable[Result], out: TextIO) -> list[Result]:
    print(f"{'array':<20} {'worst error':>12} {'tolerance':>10}", file=out)
    seen = []
    for result in results:
        seen.append(result)
        verdict = "ok" if result.is_within else "MISS"
        row = f"{result.name:<20} {result.error:>12.3g} {result.tolerance:>10.0e}  {verdict}"
        print(f"{row}  {result.note}".rstrip(), file=out, flush=True)
    return seen


def _concluded(results: list[Result], num_skipped: int, out: TextIO) -> bool:
    num_missed = sum(not result.is_within for result in results)
    print(f"{len(results)} arrays checked, {num_missed} missed, {num_skipped} skipped", file=out)
    return bool(results) and num_missed + num_skipped == 0


def check_all(subject: Subject) -> Iterator[Result]:
    """Compare every recorded array that can be computed."""
    for name, check in checks_of(subject.preset.stage2).items():
        if name in subject.recorded.arrays:
            yield from _check(name, check, subject)
    for facts in FACTS:
        with suppress(AbsentError):
            yield from facts(subject)


def checks_of(config: PriorConfig) -> dict[str, Check]:
    """Array → check, for sets of such a model."""
    own = {name.rpartition("/")[2]: CHECKS[name] for name in prior_family(config).recorded(config)}
    return CHECKS | own


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
    if wanted.dtype.kind in "iu" and check.are_codes:
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
    if check.tie.excuses == "row":
        rows = is_tie.reshape(len(is_tie), -1)
        is_tie = np.logical_or.accumulate(rows, axis=-1).reshape(is_tie.shape)
    elif check.tie.excuses == "depths":
        is_tie = np.logical_or.accumulate(is_tie, axis=-1)
    excused = int((differs & is_tie).sum())
    note = f"{excused} differ after near-ties" if excused else ""
    return Result(name, int((differs & ~is_tie).sum()), 0, note)


def _skipped(subject: Subject, checked: set[str]) -> set[str]:
    """Arrays that should have been checked; those of the transfer need another folder beside."""
    known = checks_of(subject.preset.stage2).keys()
    skipped = (subject.recorded.arrays.keys() & known) - checked
    return {name for name in skipped if not name.startswith("transfer_")}


def _not_checked(subject: Subject, checked: set[str]) -> Iterator[str]:
    arrays, config = subject.recorded.arrays, subject.preset.stage2
    for name in sorted(arrays.keys() - checked - INPUTS):
        reason = "unknown array"
        if name.startswith(_OPTIONAL):
            reason = "optional: it ties a model to one torch version's global generator"
        elif name in checks_of(config):
            reason = "what it is computed from is absent"
        yield f"{name:<20} not checked ({reason})"
    whole = {name.rpartition("/")[2] for name in prior_family(config).recorded(config)}
    for name in sorted(whole - arrays.keys()):
        yield f"{name:<20} absent"
