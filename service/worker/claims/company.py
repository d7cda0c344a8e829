"""What a worker's models hold together: an isolated job of one runs beside nothing of another.

It may take the process with it. Lives on the event loop's thread. Knows no Redis and no model.
"""

from __future__ import annotations

import time

from service.broker.claims import Claim
from service.worker.claims.leased import Leased

_QUIET_S = 2.0  # others take nothing for so long, each time that one asks for it


class Company:
    """All sets of leased runs of a process; each model's joins."""

    def __init__(self) -> None:
        self._members: list[Leased] = []
        self._quiet_for: Leased | None = None
        self._quiet_until = float("-inf")

    def join(self, leased: Leased) -> None:
        """Count these, too."""
        self._members.append(leased)

    @property
    def num_runs(self) -> int:
        """Runs of all models."""
        return sum(map(len, self._members))

    def ask_for_quiet(self, leased: Leased) -> None:
        """One has an isolated job to run: let the others take nothing for a while."""
        self._quiet_for = leased
        self._quiet_until = time.monotonic() + _QUIET_S

    def is_closed_to(self, leased: Leased) -> bool:
        """Whether it must take nothing now, for another one's sake."""
        others = [each for each in self._members if each is not leased]
        if any(each.has_isolated for each in others):
            return True
        return self._quiet_for in others and time.monotonic() < self._quiet_until

    def is_in_the_way(self, leased: Leased, claim: Claim) -> bool:
        """Whether the claim, made while another one took something, can't run beside it."""
        others = [each for each in self._members if each is not leased]
        if any(each.has_isolated for each in others):
            return True
        return claim.is_isolated and any(map(len, others))
