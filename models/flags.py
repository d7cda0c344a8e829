"""What commands' flags accept: counts and shares. No flag of its own, and no torch.

Each raises argparse's own error, so that a wrong value is one line for who typed it.
"""

from __future__ import annotations

import math
import sys
from argparse import ArgumentTypeError

MAX_THREADS = 1024  # of torch; where OpenMP can't start so many, it ends the process
_MAX_SEED = 2**63 - 1  # of models.drawing.streams, which needs torch


def count(text: str, most: int = sys.maxsize, least: int = 1) -> int:
    """A whole number of at least so many, and at most so many."""
    if not text.isdecimal() or not least <= int(text) <= most:
        limit = "" if most == sys.maxsize else f" and at most {most}"
        raise ArgumentTypeError(f"must be a whole number of at least {least}{limit}, not {text!r}")
    return int(text)


def count_or_none(text: str) -> int:
    """A whole number of at least 0."""
    return 0 if text.strip("0") == "" != text else count(text)


def seed(text: str) -> int:
    """A whole number that rows can be drawn by."""
    if not text.isdecimal() or int(text) > _MAX_SEED:
        raise ArgumentTypeError(f"must be a whole number from 0 to 2**63 - 1, not {text!r}")
    return int(text)


def several(text: str) -> int:
    """A whole number of at least 2."""
    return count(text, least=2)


def threads(text: str) -> int:
    """As many of the CPU's threads as torch can start."""
    return count(text, most=MAX_THREADS)


def share(text: str) -> float:
    """A number above 0 and at most 1."""
    if not 0 < (number := _number(text)) <= 1:
        raise ArgumentTypeError(f"must be above 0 and at most 1, not {text!r}")
    return number


def share_or_none(text: str) -> float:
    """A number of at least 0 and at most 1."""
    if not 0 <= (number := _number(text)) <= 1:
        raise ArgumentTypeError(f"must be a number from 0 to 1, not {text!r}")
    return number


def positive(text: str) -> float:
    """A finite number above 0."""
    if not 0 < (number := _number(text)) < math.inf:
        raise ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return number


def amount(text: str) -> float:
    """A finite number of at least 0."""
    if not 0 <= (number := _number(text)) < math.inf:
        raise ArgumentTypeError(f"must be a number of at least 0, not {text!r}")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
