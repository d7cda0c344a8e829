"""How far counts may be from what a distribution promises.

Knows the limit only; which cells are counted is a test's own business.
"""

from __future__ import annotations

import math


def chi_square_limit(freedom: int) -> float:
    """About the 99.99% quantile of chi-square (Wilson and Hilferty 1931)."""
    spread = 2 / (9 * freedom)
    return freedom * (1 - spread + 3.719 * math.sqrt(spread)) ** 3
