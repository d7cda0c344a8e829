"""A training run's life: its folder, its log and the loop of its steps.

Knows no model. A batch is drawn from the run's seed and the step alone, so a resumed run repeats
what an uninterrupted one does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import SEEK_END
from pathlib import Path
from random import Random
from typing import IO

import torch
from tqdm import tqdm

from models.train.loop.checkpoints import Checkpoints, latest
from models.train.loop.learner import Learner, Weights
from models.train.loop.pace import Pace
from models.train.loop.pictures import draw_curves
from models.train.loop.processes import is_first, place, terminated

# After how many steps, and what to do with the last one and the averaged weights.
Chore = tuple[int, Callable[[int, Weights], None]]


class Run:
    """One folder of a training run: checkpoints, log.jsonl, curve.png and what a stage adds."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.mirrors: list[Callable[[int, dict[str, float]], None]] = []  # who is told besides
        folder.mkdir(parents=True, exist_ok=True)

    def rng(self, step: int) -> Random:
        """The only source of randomness of a step."""
        return Random(f"{self.seed}/{step}")

    def torch_rng(
        self, step: int, device: torch.device | str = "cpu", process: int = 0
    ) -> torch.Generator:
        """The same for torch, and of each process its own, where they draw for their pictures."""
        rng = Random(f"{self.seed}/{step}/{process}") if process else self.rng(step)
        return torch.Generator(device).manual_seed(rng.getrandbits(62))

    @contextmanager
    def seeded(self, step: int) -> Iterator[None]:
        """The same for what draws from torch's own generator, as dropout does."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.torch_rng(step, process=place()[0]).initial_seed())
            yield

    def log(self, step: int, **values: float) -> None:
        """Append one line to the log."""
        for mirror in self.mirrors:
            mirror(step, values)
        line = json.dumps({"step": step, "time": round(time.time(), 1), **values}) + "\n"
        with (self.folder / "log.jsonl").open("ab+") as file:
            file.write((line if _is_whole(file) else "\n" + line).encode())

    def history(self) -> list[dict[str, float]]:
        """All lines of the log, but for those that a kill or a full disk has cut."""
        path = self.folder / "log.jsonl"
        rows = map(_row, path.read_text().splitlines() if path.exists() else ())
        return [row for row in rows if row]

    def plot(self, *keys: str) -> None:
        """Draw the log's curves into curve.png, one panel a key."""
        history = self.history()
        panels = {
            key: {"": [(row["step"], row[key]) for row in history if key in row]} for key in keys
        }
        draw_curves(self.folder / "curve.png", panels, xlabel="step")

    @property
    def is_begun(self) -> bool:
        """Whether there is a checkpoint."""
        return latest(self.folder) is not None


def _is_whole(file: IO[bytes]) -> bool:
    """Whether no kill has cut its last line."""
    if not file.seek(0, SEEK_END):
        return True
    file.seek(-1, SEEK_END)
    return file.read(1) == b"\n"


def _row(line: str) -> dict[str, float]:
    """Of the log; empty where it is none."""
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) and "step" in row else {}


def train(  # noqa: PLR0913  what a run consists of
    run: Run,
    steps: range,
    step_once: Callable[[int], dict[str, float]],
    learner: Learner,
    saved: Checkpoints,
    pace: Pace,
    *,
    every: Sequence[Chore] = (),
) -> None:
    """The loop of every stage: one step, log now and then, save, and the periodic chores.

    All processes take the steps and save, the first one does the rest. `every` pairs a number of
    steps with what to do then; saving and this are done once more at the end. When SIGTERM comes,
    the step under way is the last, and saved.
    """
    bar = tqdm(
        steps,
        initial=steps.start,
        total=steps.stop,
        dynamic_ncols=True,
        mininterval=5,
        disable=not is_first(),
    )
    with terminated() as is_told:
        for step in bar:
            values = pace.step(step_once, step)
            is_last, must_end = step == steps.stop - 1, is_told()
            if is_first() and (step % 20 == 0 or is_last):
                run.log(step, **values, **pace.figures(steps.stop - 1 - step))
                bar.set_postfix({key: f"{value:.3g}" for key, value in values.items()})
            if (step + 1) % saved.every == 0 or is_last or must_end:
                saved.save(learner.state())
            if must_end:
                _say(f"told to end: saved in {run.folder}, --resume goes on")
                break
            _do_chores(step, learner, [c for n, c in every if (step + 1) % n == 0 or is_last])
        saved.finish()


def _do_chores(step: int, learner: Learner, chores: list[Callable[[int, Weights], None]]) -> None:
    if not chores:
        return
    weights = learner.average.gathered()
    for chore in chores if is_first() else ():
        chore(step, weights)


def _say(text: str) -> None:
    if is_first():
        print(text)
