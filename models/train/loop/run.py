"""A training run's life: its folder, schedule, log, curve and checkpoints.

Knows no model. A batch is drawn from the run's seed and the step alone, so a resumed run repeats
what an uninterrupted one does.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from PIL import Image
from torch import Tensor
from torch.optim import Optimizer
from tqdm import tqdm

from models.train.loop import workers

State = dict[str, object]
Chore = tuple[int, Callable[[int], None]]  # after how many steps, and what to do with the last one


@dataclass(frozen=True, slots=True)
class Schedule:
    """Cosine from the full rate to `floor` of it over `steps`, after a linear warm-up."""

    steps: int
    warm_up: int = 50
    floor: float = 0.02

    def factor(self, step: int) -> float:
        """What the learning rates are multiplied with at this step."""
        rise = min(1.0, (step + 1) / self.warm_up)
        progress = min(1.0, step / max(1, self.steps))
        return rise * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress)))

    def apply(self, optimiser: Optimizer, step: int) -> None:
        """Set an optimiser's rates; `initial_lr` is remembered at the first call."""
        for group in optimiser.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * self.factor(step)


class Run:
    """One folder of a training run: state.pt, log.jsonl, curve.png and whatever a stage adds."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        folder.mkdir(parents=True, exist_ok=True)

    def rng(self, step: int) -> Random:
        """The only source of randomness of a step."""
        return Random(f"{self.seed}/{step}")

    def torch_rng(self, step: int) -> torch.Generator:
        """The same for torch."""
        return torch.Generator().manual_seed(self.rng(step).getrandbits(62))

    @contextmanager
    def seeded(self, step: int) -> Iterator[None]:
        """The same for what draws from torch's own generator, as dropout does."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.rng(step).getrandbits(62))
            yield

    def log(self, step: int, **values: float) -> None:
        """Append one line to the log."""
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "time": round(time.time(), 1), **values}) + "\n")

    def history(self) -> list[dict[str, float]]:
        """All lines of the log."""
        path = self.folder / "log.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def plot(self, *keys: str) -> None:
        """Draw the log's curves into curve.png, one panel a key."""
        history = self.history()
        panels = {
            key: {"": [(row["step"], row[key]) for row in history if key in row]} for key in keys
        }
        draw_curves(self.folder / "curve.png", panels, xlabel="step")

    def save(self, state: State) -> None:
        """Replace the checkpoint in one rename, so that a kill never leaves half a file."""
        part = self.folder / "state.part"
        torch.save(state, part)
        part.replace(self.folder / "state.pt")

    @property
    def is_begun(self) -> bool:
        """Whether there is a checkpoint."""
        return (self.folder / "state.pt").exists()

    def load(self) -> State | None:
        """The last checkpoint, if there is one."""
        path = self.folder / "state.pt"
        return torch.load(path, weights_only=True) if self.is_begun else None


def train(
    run: Run,
    steps: range,
    step_once: Callable[[int], dict[str, float]],
    saved: tuple[int, Callable[[], State]],
    every: Iterable[Chore] = (),
) -> None:
    """The loop of every stage: one step, log now and then, save, and the periodic chores.

    The first worker does all but the steps. `saved` says after how many steps to save what; `every`
    pairs a number of steps with what to do then; all are done once more at the end. When SIGTERM
    comes, the step under way is the last, and saved.
    """
    is_first, (save_every, state) = workers.place()[0] == 0, saved
    saving: Chore = (save_every, lambda _: run.save(state()))
    chores = [saving, *every] if is_first else []
    bar = tqdm(
        steps,
        initial=steps.start,
        total=steps.stop,
        dynamic_ncols=True,
        mininterval=5,
        disable=not is_first,
    )
    with workers.terminated() as is_told:
        for step in bar:
            values, is_last = step_once(step), step == steps.stop - 1
            if is_first and (step % 20 == 0 or is_last):
                run.log(step, **values)
                bar.set_postfix({key: f"{value:.3g}" for key, value in values.items()})
            for period, chore in chores:
                if (step + 1) % period == 0 or is_last:
                    chore(step)
            if workers.is_any(is_told()):
                _end_early(run, state, is_first=is_first)
                return


def _end_early(run: Run, state: Callable[[], State], *, is_first: bool) -> None:
    if is_first:
        run.save(state())
        print(f"told to end: saved in {run.folder}, --resume goes on")


def draw_curves(
    path: Path, panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], **axes: str
) -> None:
    """Write panels side by side as one PNG: by title, and in each the points by a line's label.

    `axes` are what matplotlib's axes call their properties, the same for all.
    """
    import matplotlib as mpl  # noqa: PLC0415  slow to import and few commands draw

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  after the backend is chosen

    figure, places = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3), squeeze=False)
    for place, (title, lines) in zip(places[0], panels.items(), strict=True):
        for label, points in lines.items():
            marker = "o" if len(points) < 10 else None  # one point alone makes no line
            xy = zip(*points, strict=True) if points else ([], [])
            place.plot(*xy, marker=marker, label=label)
        place.set(title=title, **axes)
        if any(lines):
            place.legend()
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def save_grid(pixels: Tensor, columns: int, path: Path) -> None:
    """Write pixels [N, 3, H, W] in [0, 1] as one PNG, row by row."""
    rows = -(-len(pixels) // columns)
    blank = pixels.new_ones((rows * columns - len(pixels), *pixels.shape[1:]))
    grid = torch.cat([pixels, blank]).view(rows, columns, *pixels.shape[1:])
    joined = grid.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)  # [rows·H, columns·W, 3]
    Image.fromarray((joined.clamp(0, 1) * 255).byte().numpy()).save(path)
