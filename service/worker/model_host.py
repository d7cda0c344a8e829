"""The model of a worker: loaded as the settings say, described by a card, put to work.

Knows no queue. Loading takes seconds to minutes and blocks.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from models.configs.preset import Preset
from models.configs.views import View
from models.drawing.sampling import RowParams
from models.errors import is_out_of_memory
from models.footprint import weight_bytes
from models.known import takes_pictures
from models.pipeline import (
    DTYPES,
    LoadOptions,
    Pipeline,
    load,
    open_checkpoint,
    weights_digest,
)
from models.presets.register import get_preset, weights_folder
from service.answers.preset_cards import preset_card
from service.broker.workers import ModelCard
from service.config.groups import WorkerSettings
from service.errors import StartRefused
from service.worker.cpu_share import Cores, CpuShare
from service.worker.device_memory import rows_that_fit
from service.worker.drawing.engine import ANY_PROMPT, Engine
from service.worker.held_memory import held_bytes

_log = logging.getLogger(__name__)

_CPU_ROWS = 32
_MAX_ROWS = 128  # beyond it a step's time grows with the rows, so nothing is won


@dataclass(frozen=True, slots=True)
class HostedModel:
    """A model in memory, the rows it shall have and how it presents itself to callers."""

    pipeline: Pipeline
    card: ModelCard
    num_rows: int
    load_s: float

    @property
    def views(self) -> tuple[View, ...]:
        """By which its pictures are made, coarse to fine; none where its card tells none."""
        return self.pipeline.preset.views if self.card.views else ()

    def description(self) -> dict[str, str]:
        """Closed facts for a metric and a log line."""
        options = self.pipeline.options
        return {
            "preset": self.card.model,
            "licence": self.card.licence,
            "device": str(options.device),
            "dtype": options.dtype_name,
        }


def load_model(name: str, settings: WorkerSettings) -> HostedModel:
    """Load the preset, or the checkpoint of the settings, under the name of the preset.

    Raises:
        StartRefused: there is no such device.
        UnknownPresetError, CheckpointError: as `models.pipeline.load`.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    torch.backends.cudnn.deterministic = True  # else transposed convolutions may add in any order
    began = time.monotonic()
    options = load_options(settings)
    pipeline = load(name, settings.checkpoint, options)
    if pipeline.quantization:
        _log.info("weights in 8 bits: %s", str(pipeline.quantization).replace("\n", "; "))
    folder = settings.checkpoint or weights_folder(get_preset(name))
    card = _card(name, pipeline.preset, folder, settings)
    card = replace(card, has_scores=pipeline.ranker is not None)
    num_rows = settings.rows or default_rows(
        options.device, pipeline.preset, options.dtype.itemsize
    )
    return HostedModel(pipeline, card, num_rows, time.monotonic() - began)


def _card(name: str, preset: Preset, folder: Path | None, settings: WorkerSettings) -> ModelCard:
    card = preset_card(preset)
    return replace(
        card,
        model=name,
        weights_digest=weights_digest(preset, folder),
        views=card.views if settings.views else (),
        takes_pictures=takes_pictures(preset),
    )


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of a model before it is loaded: its card, and about the bytes it will hold."""

    card: ModelCard
    num_bytes: int


def outlook(name: str, settings: WorkerSettings) -> Outlook:
    """Look at a model without loading it. Raises as `load_model`."""
    options = load_options(settings)
    preset = get_preset(name)
    folder = settings.checkpoint or weights_folder(preset)
    if folder is not None:
        preset = open_checkpoint(folder).preset
    num_bytes, number_bytes = weight_bytes(preset, options), options.dtype.itemsize
    num_rows = settings.rows or default_rows(options.device, preset, number_bytes)
    num_bytes += num_rows * preset.row_bytes(number_bytes)
    judge = preset.clip or preset.classifier
    if judge is not None and folder is not None:
        num_bytes += (folder / judge.weights).stat().st_size
    return Outlook(_card(name, preset, folder, settings), num_bytes)


@dataclass(frozen=True, slots=True)
class Machinery:
    """What a worker draws with: the model, the engine on its rows, the split of the CPU."""

    model: HostedModel
    engine: Engine
    share: CpuShare
    warm_up_s: float = 0.0

    @classmethod
    def load(cls, name: str, settings: WorkerSettings, cores: Cores | None = None) -> Machinery:
        """As `load_model`, which says what is raised. `cores`: of the worker that it is for."""
        model = load_model(name, settings)
        engine = Engine(model.pipeline, model.num_rows)
        return cls(model, engine, CpuShare.of(model.pipeline, engine.shapes, cores))

    @property
    def num_bytes(self) -> int:
        """What weights and rows hold, measured."""
        return held_bytes(self.model.pipeline, self.engine)

    def warmed_up(self) -> Machinery:
        """The same after everything that a job runs has run once."""
        began = time.monotonic()
        self.engine.warm_up(self._make_pictures)
        return replace(self, warm_up_s=time.monotonic() - began)

    @property
    def ready_s(self) -> float:
        """How long it took until it was ready to draw."""
        return self.model.load_s + self.warm_up_s

    def _make_pictures(self, codes: torch.Tensor) -> None:
        pipeline = self.model.pipeline
        pixels = pipeline.pixels(codes)
        pipeline.preview(codes, [1])
        if pipeline.enhancer:
            pipeline.enhanced(codes, [RowParams(0)] * len(codes))
        prompt = ANY_PROMPT[pipeline.preset.prompt_kind]
        pipeline.scores(pipeline.text_features(prompt), pixels, codes)


def load_options(settings: WorkerSettings) -> LoadOptions:
    """Device and number type, with `auto` decided. StartRefused for a device that is not there."""
    device = _device(settings.device)
    if settings.dtype == "auto":
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    else:
        dtype = DTYPES[settings.dtype]
    return LoadOptions(
        device=device, dtype=dtype, quantization=settings.quantization, graphs=settings.compile
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):  # random streams and sampling need 64-bit numbers
            raise StartRefused(f"MINDALLE_WORKER__DEVICE: {name!r} is neither cpu nor cuda")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        found = f"no memory left on {name!r}" if is_out_of_memory(error) else f"no device {name!r}"
        raise StartRefused(f"MINDALLE_WORKER__DEVICE: there is {found}") from None
    return device


def default_rows(
    device: torch.device, preset: Preset, number_bytes: int, *, reserved_bytes: int = 0
) -> int:
    """Rows by free memory, less `reserved_bytes` for weights that are not loaded yet."""
    if device.type != "cuda":
        return _CPU_ROWS
    return rows_that_fit(
        device,
        preset.row_bytes(number_bytes),
        most=_MAX_ROWS,
        reserved_bytes=reserved_bytes,
    )


def loading_card(name: str) -> ModelCard | None:
    """What can be said before anything is loaded; None for a name that no preset has."""
    try:
        return preset_card(get_preset(name))
    except ValueError:
        return None
