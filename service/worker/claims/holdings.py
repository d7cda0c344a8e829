"""The claims that this worker holds, and where each of them is.

Lives on the event loop's thread. Knows no Redis and no model.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from service.broker.leases import Claim

_LOOK_S = 0.2

Stage = Literal["decode", "finish", "commit"]


@dataclass(slots=True)
class Held:
    """One claim: `num_undrawn` candidates lack codes."""

    claim: Claim
    num_undrawn: int
    codes_total: int
    stage: Stage = "decode"
    queue_wait_s: float = 0.0
    claimed_at: float = 0.0


def run_id_of(claim: Claim) -> str:
    """A name for this attempt: another claim of the same job is another run."""
    return f"{claim.job.id}:{claim.fence}"


class Holdings:
    """All of them by run id. `changed` is set whenever rows or claims become free."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._held: dict[str, Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, claim: Claim, *, num_steps: int, now: float) -> str:
        """Hold a claim whose candidates take `num_steps` each; returns its run id."""
        run_id = run_id_of(claim)
        num_candidates = claim.job.recipe.num_candidates
        self._held[run_id] = Held(
            claim,
            num_undrawn=num_candidates,
            codes_total=num_candidates * num_steps,
            queue_wait_s=claim.waited_s,
            claimed_at=now,
        )
        return run_id

    def get(self, run_id: str) -> Held | None:
        """The claim, unless it is gone."""
        return self._held.get(run_id)

    def drawn(self, run_id: str, num_candidates: int, *, is_last: bool) -> None:
        """So many candidates left their rows."""
        held = self._held.get(run_id)
        if held is not None:
            held.num_undrawn -= num_candidates
            if is_last:
                held.stage = "finish"
        self.changed.set()

    def drop(self, run_id: str) -> Held | None:
        """Let a claim go."""
        held = self._held.pop(run_id, None)
        self.changed.set()
        return held

    def all(self) -> dict[str, Held]:
        """A copy of what is held."""
        return dict(self._held)

    def of_job(self, job_id: str) -> list[str]:
        """The run ids of a job: one, but for a claim that was lost and came back."""
        return [run_id for run_id, held in self._held.items() if held.claim.job.id == job_id]

    @property
    def is_working(self) -> bool:
        """True while something is drawn or made; what only waits for Redis does not count."""
        return any(held.stage != "commit" for held in self._held.values())

    @property
    def num_undrawn(self) -> int:
        """Candidates that need a row, or have one."""
        return sum(held.num_undrawn for held in self._held.values())

    @property
    def num_candidates(self) -> int:
        """Candidates of all claims, those whose pictures are being made included."""
        return sum(held.claim.job.recipe.num_candidates for held in self._held.values())

    @property
    def has_isolated(self) -> bool:
        """True while a job runs that must run alone."""
        return any(held.claim.is_isolated for held in self._held.values())

    async def wait(self, timeout_s: float) -> None:
        """Until something changes, at most so long."""
        self.changed.clear()
        try:
            await asyncio.wait_for(self.changed.wait(), timeout_s)
        except TimeoutError:
            return

    async def wait_empty(self, timeout_s: float, until: Callable[[], bool] = lambda: False) -> None:
        """Until nothing is held or `until` is true, at most so long."""
        give_up = time.monotonic() + timeout_s
        while self._held and not until():
            left = give_up - time.monotonic()
            if left <= 0:
                return
            await self.wait(min(left, _LOOK_S))
