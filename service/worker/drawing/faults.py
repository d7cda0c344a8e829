"""Faults that tests switch on by settings: a step that raises, hangs, kills or lacks memory.

Off unless a setting says otherwise. Knows nothing of what a step computes.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection

from service.config.groups import TestingSettings

_FOR_EVER_S = 3600.0


class InjectedError(RuntimeError):
    """A fault that a test asked for."""


def strike(faults: TestingSettings, prompts: Collection[str | int | None], num_rows: int) -> None:
    """Do what is asked for a step with these prompts in so many rows.

    Raises:
        InjectedError, MemoryError: that is what was asked for.
    """
    time.sleep(faults.step_delay_s)
    if faults.poison_prompt is not None and faults.poison_prompt in prompts:
        raise InjectedError("a poison prompt was in the batch")
    if faults.hang_prompt is not None and faults.hang_prompt in prompts:
        time.sleep(_FOR_EVER_S)
    if faults.kill_prompt is not None and faults.kill_prompt in prompts:
        os.kill(os.getpid(), signal.SIGKILL)
    if faults.oom_above_rows is not None and num_rows > faults.oom_above_rows:
        raise MemoryError("more rows than the test allows")
