"""`mindalle bench --naive`: computing everything again for each code against what is remembered.

For models of every family, with random weights of their own shapes. The cached time is that of the
loop that serves, from the first step to the last of a picture per row; the other is timed at a few
places and integrated. Prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from models.configs.preset import Preset
from models.drawing.sampling import Filters, RowParams, draw
from models.measure import machine
from models.measure.stopwatch import (
    integrated,
    num_draws,
    random_prefix,
    some_prompt,
    spread_places,
    typical,
)
from models.pipeline import LoadOptions, Pipeline, load_random
from models.presets.register import PRESETS
from models.stage2.prior import Draw

# One model of each family, of sizes that a CPU draws within minutes.
FAMILIES = (
    "emoji",
    "rq-ffhq",
    "pixelcnn",
    "gated-pixelcnn",
    "pixelcnn++",
    "image-transformer",
    "image-transformer-dmol",
)
_NUM_PLACES = 3


@runtime_checkable
class Redrawing(Protocol):
    """A prior over whole pictures: what is computed again doesn't grow with what is drawn."""

    def redraw(self, codes: Tensor, classes: Tensor | None, place: int, draw: Draw) -> Tensor: ...


@runtime_checkable
class WholeSequence(Protocol):
    """A prior over sequences: ids [B, N] and codes [B, t] or [B, t, D] at once → logits."""

    def forward(self, ids: Tensor, codes: Tensor) -> object: ...


@dataclass(frozen=True, slots=True)
class Timing:
    """One model at one batch size. Seconds are of all steps of a picture in every row."""

    model: str
    rows: int
    num_steps: int
    depth: int
    cached_s: float
    naive_s: float

    @property
    def ratio(self) -> float:
        """How many times faster it is to remember."""
        return self.naive_s / self.cached_s


def timings(names: Iterable[str], options: LoadOptions, batches: list[int]) -> Iterator[Timing]:
    """Time each model at each number of rows."""
    for name in names:
        for rows in batches:
            yield _timed(PRESETS[name], options, rows)


def _timed(preset: Preset, options: LoadOptions, rows: int) -> Timing:
    naive_s = _naive_s(load_random(preset, options), rows)
    cached_s = _cached_s(load_random(preset, options), rows)
    return Timing(preset.name, rows, preset.num_steps, preset.depth, cached_s, naive_s)


def _cached_s(pipeline: Pipeline, rows: int) -> float:
    """Seconds of the loop's steps, after one that warms up."""
    device = pipeline.options.device
    prefix = pipeline.prefix(pipeline.encode(some_prompt(pipeline.preset)))
    batch = pipeline.batch(rows)
    params = [RowParams(seed=1, candidate=row) for row in range(rows)]
    batch.admit(prefix, params)
    batch.step()
    batch.evict(range(rows))
    batch.admit(prefix, params)

    def to_the_end() -> None:
        while not batch.step():
            pass

    return machine.seconds(device, to_the_end)


@torch.inference_mode()
def _naive_s(pipeline: Pipeline, rows: int) -> float:
    """Seconds of the same steps where nothing is remembered."""
    preset, device = pipeline.preset, pipeline.options.device
    shape = (rows, preset.num_steps, preset.depth)
    codes = torch.randint(min(preset.vocab_sizes), shape, device=device)
    step, grows = _step(pipeline, codes)
    last = preset.num_steps - 1
    places = spread_places(preset.num_steps, _NUM_PLACES) if grows else [last]

    def timed(place: int) -> float:
        return typical(lambda: machine.seconds(device, lambda: step(place)))

    times = {place: timed(place) for place in places}
    return integrated(times) if grows else last * times[last]


def _step(pipeline: Pipeline, codes: Tensor) -> tuple[Callable[[int], object], bool]:
    """Draws the codes of a place, all computed again; whether that takes longer later."""
    preset, prior = pipeline.preset, pipeline.stage2
    choose, ids = _choose(pipeline, len(codes)), random_prefix(preset, len(codes)).to(codes.device)
    if isinstance(prior, Redrawing):
        classes = ids[:, 0] if preset.prompt_kind == "class" else None
        return lambda place: prior.redraw(codes, classes, place, choose), False
    if not isinstance(prior, WholeSequence):
        raise TypeError(f"{preset.name} runs over no whole sequences")

    def again(place: int) -> None:
        """A pass for each code of the step, or for those that are drawn at once."""
        seen = codes[:, : place + 1]
        for _ in range(num_draws(preset)):
            prior.forward(ids, seen[..., 0] if preset.depth == 1 else seen)

    return again, True


def _choose(pipeline: Pipeline, rows: int) -> Draw:
    device, params = pipeline.options.device, [RowParams(seed=1)] * rows
    sizes = enumerate(pipeline.preset.vocab_sizes)
    filters = [Filters.of(params, size, device, depth) for depth, size in sizes]
    uniform = torch.full((rows,), 0.5, dtype=torch.float64, device=device)
    return lambda logits, depth: draw(logits, filters[depth], uniform)


HEADING = f"{'model':<24}{'rows':>5}{'codes':>7}{'cached':>11}{'naive':>12}{'ratio':>8}"


def line(timing: Timing) -> str:
    """Of the table."""
    codes = timing.num_steps * timing.depth
    return (
        f"{timing.model:<24}{timing.rows:>5}{codes:>7}{timing.cached_s:>10.2f}s"
        f"{timing.naive_s:>11.1f}s{timing.ratio:>7.1f}x"
    )


def record(found: list[Timing]) -> dict[str, object]:
    """For everything that reads JSON."""
    return {"timings": [{**asdict(timing), "ratio": timing.ratio} for timing in found]}
