"""Faults that tests switch on by settings: a step that raises, hangs, kills or lacks memory.

Off unless a setting says otherwise. Knows nothing of what a step computes.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass

from service.config.groups import TestingSettings

_FOR_EVER_S = 3600.0


class InjectedError(RuntimeError):
    """A fault that a test asked for."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong, and when. The default is nothing."""

    poison_prompt: str | None = None
    hang_prompt: str | None = None
    kill_prompt: str | None = None
    step_delay_s: float = 0.0
    oom_above_rows: int | None = None

    @classmethod
    def of(cls, settings: TestingSettings) -> Faults | None:
        """The faults that these settings ask for; None when they ask for none."""
        faults = cls(
            settings.poison_prompt,
            settings.hang_prompt,
            settings.kill_prompt,
            settings.step_delay_s,
            settings.oom_above_rows,
        )
        return None if faults == cls() else faults

    def strike(self, prompts: Collection[str | int | None], num_rows: int) -> None:
        """Do what is asked for a step with these prompts in so many rows."""
        time.sleep(self.step_delay_s)
        if self.poison_prompt is not None and self.poison_prompt in prompts:
            raise InjectedError("a poison prompt was in the batch")
        if self.hang_prompt is not None and self.hang_prompt in prompts:
            time.sleep(_FOR_EVER_S)
        if self.kill_prompt is not None and self.kill_prompt in prompts:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.oom_above_rows is not None and num_rows > self.oom_above_rows:
            raise MemoryError("more rows than the test allows")
