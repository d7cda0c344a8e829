"""Times of the engine and of the baselines beside it, for a whole image per row.

The loop is the one that serves. Baselines (`baselines`) are timed between the engine's own
steps, so that whatever else the machine does hits all alike; each at a few lengths, integrated over
the image, and draws its codes as the engine does. Prints nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from models.configs.hq import HQTransformerConfig
from models.configs.preset import Preset
from models.configs.prior import PrefixKind, Prompt
from models.drawing.sampling import Filters, RowParams, draw
from models.families import prior_family
from models.measure import machine
from models.measure.baselines import BlockStack, ConcatenatingCache, recomputed_logits
from models.pipeline import CHUNK, Pipeline, Prefix

_NUM_PLACES = 5  # at which a baseline is timed
_MAX_REPEATS = 3
_ENOUGH_S = 2.0  # what took longer is not repeated


@dataclass(frozen=True, slots=True)
class Result:
    """One form of the model at one batch size. Seconds are of the whole batch."""

    setting: str
    batch: int
    prefill_s: float
    first_s: float  # admitting all rows: the prompt's copies and the first codes
    step_s: float  # median over the image
    image_s: float  # all steps of one image per row
    num_steps: int
    depth: int
    step_bytes: float  # weights and cache, mean over the image
    step_flops: float
    bandwidth_share: float
    arithmetic_share: float
    pixels_s: float | None  # per image
    rerank_s: float | None  # per image
    concatenated_s: float | None  # as image_s
    recomputed_s: float | None  # as image_s

    @property
    def codes_s(self) -> float:
        return self.batch * self.num_steps * self.depth / self.image_s

    @property
    def stage2_images_s(self) -> float:
        return self.batch / (self.prefill_s + self.first_s + self.image_s)

    @property
    def images_s(self) -> float:
        """Pixels and re-ranking included, as far as they were measured."""
        after = (self.pixels_s or 0) + (self.rerank_s or 0)
        return 1 / (1 / self.stage2_images_s + after)

    def times_faster(self, baseline_s: float | None) -> float | None:
        return None if baseline_s is None else baseline_s / self.image_s


class BaselineTimes:
    """Both baselines on a model of their own with plain layers, timed at chosen places."""

    def __init__(self, stage2: BlockStack, preset: Preset, batch: int) -> None:
        self.stage2 = stage2
        self.preset = preset
        self.batch = batch
        self.places = spread_places(preset.num_steps, _NUM_PLACES)
        self.prefix = random_prefix(preset, batch).to(stage2.device)
        self._concatenated: dict[int, float] = {}
        self._recomputed: dict[int, float] = {}

    @torch.inference_mode()
    def time_at(self, place: int) -> None:
        """One step of each where `place` codes are drawn, if that is one of the places."""
        if place not in self.places or place in self._recomputed:
            return
        device, (vocab_size,) = self.stage2.device, self.preset.vocab_sizes
        codes = torch.randint(vocab_size, (self.batch, place), device=device)
        cache = ConcatenatingCache(self.stage2)
        params = [RowParams(seed=1, top_k=_top_k(self.preset))] * self.batch
        filters = Filters.of(params, vocab_size, device)
        uniform = torch.full((self.batch,), 0.5, dtype=torch.float64, device=device)

        def one_step() -> float:
            cache.pretend(self.batch, place - 1)
            return machine.seconds(
                device, lambda: draw(cache.decode(codes[:, -1], place - 1), filters, uniform)
            )

        def again() -> float:
            return machine.seconds(
                device,
                lambda: draw(recomputed_logits(self.stage2, self.prefix, codes), filters, uniform),
            )

        one_step()
        self._concatenated[place] = typical(one_step)
        self._recomputed[place] = typical(again)

    @property
    def image_s(self) -> tuple[float, float]:
        """Seconds of all steps of an image: concatenating, recomputing."""
        return integrated(self._concatenated), integrated(self._recomputed)


def spread_places(num_steps: int, number: int) -> list[int]:
    """Up to so many steps of an image to time: the second, the last, and evenly between them."""
    last = num_steps - 1
    return sorted({1 + i * (last - 1) // (number - 1) for i in range(number)})


def typical(timed: Callable[[], float]) -> float:
    """The median of what a few runs take in seconds, fewer of what is slow."""
    times: list[float] = []
    while len(times) < _MAX_REPEATS and sum(times) < _ENOUGH_S:
        times.append(timed())
    return statistics.median(times)


def integrated(times: dict[int, float]) -> float:
    """Sum over all places from the first to the last, straight lines between the timed ones."""
    places = sorted(times)
    total = times[places[0]]
    for before, after in pairwise(places):
        slope = (times[after] - times[before]) / (after - before)
        total += sum(times[before] + slope * (p - before) for p in range(before + 1, after + 1))
    return total


def _top_k(preset: Preset) -> int:
    return min(256, *preset.vocab_sizes)  # minDALL-E's default


def some_prompt(preset: Preset) -> Prompt:
    """One that the model takes."""
    return _PROMPTS[preset.prompt_kind]


def num_draws(preset: Preset) -> int:
    """How often a step draws: HQ draws a window's codes at once, others one after the other."""
    stage2 = preset.stage2
    return len(stage2.windows) if isinstance(stage2, HQTransformerConfig) else preset.depth


def random_prefix(preset: Preset, count: int) -> Tensor:
    """Prefix ids [count, N] of the kind that the model takes."""
    return torch.randint(preset.stage2.prompt_vocab_size, (count, preset.prompt_len))


def measure(
    setting: str,
    pipeline: Pipeline,
    batch: int,
    ceilings: machine.Ceilings,
    plain: BaselineTimes | None,
) -> Result:
    """Time one image per row of a batch, the baselines in between."""
    device = pipeline.options.device
    ids = random_prefix(pipeline.preset, 1).to(device)
    prefix, prefill_s = _prefilled(pipeline, ids)
    engine = pipeline.batch(batch)
    top_k = _top_k(pipeline.preset)
    params = [RowParams(seed=1, candidate=i, top_k=top_k) for i in range(batch)]
    engine.evict(engine.admit(prefix, params))
    first_s = machine.seconds(device, lambda: engine.admit(prefix, params))
    times: list[float] = []
    for place in range(1, engine.prior.num_steps):
        times.append(machine.seconds(device, engine.step))
        if plain:
            plain.time_at(place)
    codes = engine.take(range(batch))
    image_s = sum(times)
    moved, computed = _work(pipeline, batch)
    pixels_s, rerank_s = _after(pipeline, codes[: pipeline.chunks.sizes[-1]])
    concatenated_s, recomputed_s = plain.image_s if plain else (None, None)
    seconds_per_step = image_s / len(times)
    flops = ceilings.flops[machine.name_of(pipeline.options.dtype)]
    return Result(
        setting=setting,
        batch=batch,
        prefill_s=prefill_s,
        first_s=first_s,
        step_s=statistics.median(times),
        image_s=image_s,
        num_steps=len(times),
        depth=engine.prior.depth,
        step_bytes=moved,
        step_flops=computed,
        bandwidth_share=moved / seconds_per_step / ceilings.bytes_s,
        arithmetic_share=computed / seconds_per_step / flops,
        pixels_s=pixels_s,
        rerank_s=rerank_s,
        concatenated_s=concatenated_s,
        recomputed_s=recomputed_s,
    )


def _prefilled(pipeline: Pipeline, ids: Tensor) -> tuple[Prefix, float]:
    with torch.inference_mode():
        work = machine.best_of(3, pipeline.options.device, lambda: pipeline.stage2.prefill(ids))
        return pipeline.stage2.prefill(ids), work


# Any will do: what is measured takes as long for each.
_PROMPTS: dict[PrefixKind, Prompt] = {"text": "a red heart", "class": 0, "none": None}


def _after(pipeline: Pipeline, codes: Tensor) -> tuple[float | None, float | None]:
    """Seconds per image of pixels and of re-ranking, None for what the model lacks."""
    device = pipeline.options.device
    if pipeline.stage1.code_shape != codes.shape[1:]:
        return None, None
    pixels = pipeline.pixels(codes)
    pixels_s = machine.best_of(2, device, lambda: pipeline.pixels(codes)) / len(codes)
    features = pipeline.text_features(_PROMPTS[pipeline.preset.prompt_kind])
    if features is None:
        return pixels_s, None
    # Fewer take as long: the chunk is filled up.
    chunk = pixels[:1].expand(CHUNK, -1, -1, -1), codes[:1].expand(CHUNK, -1, -1)
    rerank_s = machine.best_of(2, device, lambda: pipeline.scores(features, *chunk)) / CHUNK
    return pixels_s, rerank_s


def _work(pipeline: Pipeline, batch: int) -> tuple[float, float]:
    """Bytes and floating-point operations that a step can't do without, mean over an image."""
    preset, prior = pipeline.preset, cast(nn.Module, pipeline.stage2)
    unread = prior_family(preset.stage2).training_only
    children = [child for name, child in prior.named_children() if name not in unread]
    layers = [m for child in children for m in child.modules() if hasattr(m, "in_features")]
    # Numbers of the rows' state, half filled with codes at the middle of an image.
    seen = preset.prompt_len + preset.num_steps / 2
    state = batch * preset.row_bytes(1) * seen / (preset.prompt_len + preset.num_steps - 1)
    multiplied = sum(layer.in_features * layer.out_features for layer in layers)  # type: ignore[operator, misc]  # nn.Module's attributes have no types
    weights = sum(_weight_bytes(layer) for layer in layers)
    return (
        weights + state * pipeline.options.dtype.itemsize,
        2.0 * multiplied * batch + 2 * state,
    )


def _weight_bytes(layer: nn.Module) -> int:
    known = getattr(layer, "weight_bytes", None)
    return int(known) if known is not None else int(layer.get_parameter("weight").nbytes)
