"""How many of something, as a command line says it."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError


def count(text: str, most: int = sys.maxsize) -> int:
    """A whole number of at least 1, and at most so many."""
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)
