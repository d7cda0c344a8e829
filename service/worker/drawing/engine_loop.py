"""The one thread that steps the engine, without a pause between steps while there is work.

Commands come in through a queue that any thread may fill; reports go out through a callback that
this thread calls. Knows no Redis and no event loop.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from types import MappingProxyType

from service.jobs import Job
from service.worker.drawing.cpu_share import CpuShare
from service.worker.drawing.engine import Engine
from service.worker.drawing.engine_events import LeaveReason, StepReport

_PROGRESS_S = 0.1  # how old `progress` may be


class EngineLoop:
    """Runs the engine until `stop`. The callbacks run on its thread and must not block."""

    def __init__(
        self,
        engine: Engine,
        share: CpuShare,
        on_report: Callable[[StepReport], None],
        on_death: Callable[[BaseException], None],
    ) -> None:
        self.engine = engine
        self._share = share
        self.progress: MappingProxyType[str, int] = MappingProxyType({})  # codes drawn, by run
        self._on_report = on_report
        self._on_death = on_death
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._progress_due = 0.0
        self._is_stopping = False

    def start(self) -> None:
        """Begin to step."""
        self._thread.start()

    def add(self, run_id: str, job: Job, deadline: float) -> None:
        """Hand a job to the engine; it enters before the next step."""
        self._inbox.put(lambda: self.engine.add(run_id, job, deadline))

    def remove(self, run_id: str, reason: LeaveReason) -> None:
        """Take a run out before the next step."""
        self._inbox.put(lambda: self.engine.remove(run_id, reason))

    def stop(self, timeout_s: float) -> None:
        """End after the step in progress; returns when it has, or after `timeout_s`."""
        self._is_stopping = True
        self._inbox.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while not self._is_stopping:
                self._take_commands()
                if not self.engine.is_idle:
                    self._share.for_step()
                    report = self.engine.step()
                    self._note_progress()
                    if self.engine.is_idle:
                        self._share.rest()
                    self._on_report(report)
        except BaseException as error:  # whatever it was: without this thread the process is no use
            self._on_death(error)

    def _take_commands(self) -> None:
        """All commands that have come; waits for one when there is nothing else to do."""
        try:
            command = self._inbox.get(block=self.engine.is_idle)
            while True:
                if command is not None:
                    command()
                command = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _note_progress(self) -> None:
        now = time.monotonic()
        if now >= self._progress_due or self.engine.is_idle:
            self.progress = MappingProxyType(self.engine.progress())
            self._progress_due = now + _PROGRESS_S
