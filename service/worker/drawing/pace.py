"""Keeps the thread that steps close to its device.

A CUDA device works through a queue of launched steps. Without a brake the host would launch many
steps ahead, and a prompt that arrives would wait behind all of them.
"""

from __future__ import annotations

import torch


class Pace:
    """Lets the host be one step ahead of the device, no more. Does nothing on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._is_on = device.type == "cuda"
        self._last: torch.cuda.Event | None = None

    def settle(self) -> None:
        """Wait until every step is done."""
        if self._last is not None:
            self._last.synchronize()

    def keep(self) -> None:
        """Call after each step: waits until the step before it is done."""
        if not self._is_on:
            return
        before, self._last = self._last, torch.cuda.Event()  # type: ignore[no-untyped-call]  # untyped upstream
        self._last.record(torch.cuda.current_stream(self._device))
        if before is not None:
            before.synchronize()
