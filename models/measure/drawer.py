"""Draws many prompts with one model in this process, its rows kept full, into `Drawings`.

The engine's own batch: candidates of a prompt are those that the service draws for its seed. Knows
no tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.configs.preset import Preset, SamplingDefaults
from models.drawing.candidates import Candidates
from models.drawing.generate import Batch
from models.drawing.sampling import RowParams
from models.errors import UnsoundWeightsError
from models.measure.drawings import Ask, Drawings
from models.pipeline import Pipeline, Prefix, ranking


@dataclass(frozen=True, slots=True)
class Setting:
    """How prompts are drawn. None is the model's own default, 0 no filter."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    num_candidates: int = 16
    keep: int = 16

    @property
    def name(self) -> str:
        """For a folder: "default-16-16", or what is not as the model has it."""
        told = (("t", self.temperature), ("k", self.top_k), ("p", self.top_p))
        own = "".join(f"{letter}{value:g}" for letter, value in told if value is not None)
        return f"{own or 'default'}-{self.num_candidates}-{self.keep}"

    def over(self, defaults: SamplingDefaults) -> SamplingDefaults:
        """What is given, in place of a model's own."""
        return SamplingDefaults(
            defaults.temperature if self.temperature is None else self.temperature,
            defaults.top_k if self.top_k is None else self.top_k or None,
            defaults.top_p if self.top_p is None else self.top_p or None,
            self.num_candidates,
        )

    def params(self, preset: Preset, seed: int) -> list[RowParams]:
        """Of each candidate that a model draws so."""
        own, levels = self.over(preset.sampling), preset.codes_per_level
        filters = own.temperature, own.top_k, own.top_p
        return [RowParams(seed, n, *filters).spread(levels) for n in range(self.num_candidates)]


@dataclass(slots=True)
class _Work:
    """A prompt in the making."""

    ask: Ask
    prefix: Prefix
    params: list[RowParams]
    num_admitted: int = 0
    codes: dict[int, Tensor] = field(default_factory=dict)  # by candidate, [1, T, D]
    log_likelihoods: dict[int, float | None] = field(default_factory=dict)  # by candidate

    @property
    def waiting(self) -> list[RowParams]:
        return self.params[self.num_admitted :]


def draw(
    pipeline: Pipeline, drawings: Drawings, asks: Iterable[Ask], setting: Setting, num_rows: int
) -> Iterator[Ask]:
    """Draw and keep each; gives one after another as they are done.

    Raises:
        InvalidPromptError, InvalidSamplingError: the model can't draw that.
        UnsoundWeightsError: its numbers are not finite.
    """
    for work in _drawn(pipeline, asks, setting, num_rows):
        codes = torch.cat([work.codes[row.candidate] for row in work.params])
        pixels = pipeline.pixels(codes)
        likelihoods = [work.log_likelihoods[row.candidate] for row in work.params]
        text, drawn = pipeline.text_features(work.ask.prompt), Candidates(codes, likelihoods)
        scores = pipeline.judged(pipeline, text, pixels, drawn)
        kept = ranking(scores)[: setting.keep]
        drawings.add(work.ask, pixels[kept].cpu(), [(i, scores[i]) for i in kept])
        yield work.ask


def _drawn(
    pipeline: Pipeline, asks: Iterable[Ask], setting: Setting, num_rows: int
) -> Iterator[_Work]:
    batch, line = pipeline.batch(num_rows), iter(asks)
    owners: dict[int, tuple[_Work, int]] = {}
    joining = _next(pipeline, line, setting)
    while joining or owners:
        while joining and batch.num_free:
            _admit(batch, joining, owners)
            if not joining.waiting:
                joining = _next(pipeline, line, setting)
        yield from _step(batch, owners)


def _next(pipeline: Pipeline, line: Iterator[Ask], setting: Setting) -> _Work | None:
    ask = next(line, None)
    if ask is None:
        return None
    params = setting.params(pipeline.preset, ask.seed)
    return _Work(ask, pipeline.prefix(pipeline.encode(ask.prompt)), params)


def _admit(batch: Batch, work: _Work, owners: dict[int, tuple[_Work, int]]) -> None:
    joining = work.waiting[: batch.num_free]
    rows = batch.admit(work.prefix, joining)
    owners |= {row: (work, p.candidate) for row, p in zip(rows, joining, strict=True)}
    work.num_admitted += len(joining)


def _step(batch: Batch, owners: dict[int, tuple[_Work, int]]) -> Iterator[_Work]:
    """One step of all rows; gives the prompts that end with it."""
    finished = batch.step()
    if not all(batch.are_sound(finished)):
        raise UnsoundWeightsError("the states of stage 2")
    for row, likelihood in zip(finished, batch.log_likelihoods(finished), strict=True):
        work, candidate = owners.pop(row)
        work.codes[candidate], work.log_likelihoods[candidate] = batch.take([row]), likelihood
        if len(work.codes) == len(work.params):
            yield work
