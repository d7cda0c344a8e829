"""What the flags of measuring commands accept: counts, and devices that are there.

Each raises argparse's own error, so that a wrong value is one line for who typed it.
"""

from __future__ import annotations

from argparse import ArgumentTypeError

import torch


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def count_or_none(text: str) -> int:
    """A whole number of at least 0."""
    return 0 if text.strip("0") == "" != text else count(text)


def several(text: str) -> int:
    """A whole number of at least 2."""
    if (number := count(text)) < 2:
        raise ArgumentTypeError("must be at least 2")
    return number


def device(text: str) -> torch.device:
    """A device that can be computed on, now and here."""
    try:
        found = torch.device(text)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError):
        raise ArgumentTypeError(
            f"there is no device {text!r} here; try cpu, cuda or cuda:1"
        ) from None
    return found


def share(text: str) -> float:
    """A number above 0 and at most 1."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1:
        raise ArgumentTypeError(f"must be above 0 and at most 1, not {text!r}")
    return number
