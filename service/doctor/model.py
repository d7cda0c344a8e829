"""The doctor's look at what a worker needs: weights, device, memory, rows that fit.

Loads no weights: it reads files' checksums and counts parameters of a model without memory.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from models.configs.preset import Preset
from models.errors import CheckpointError
from models.footprint import prior_bytes
from models.pipeline import LoadOptions, open_checkpoint
from models.presets.register import UnknownPresetError, get_preset, weights_folder
from service.config.groups import WorkerSettings
from service.doctor.finding import Finding
from service.errors import StartRefused
from service.settings import Settings
from service.worker.model_host import default_rows, load_options, outlook


def examine_model(settings: Settings) -> list[Finding]:
    """Findings on the models that a worker with these settings would load."""
    hosted = settings.hosted
    if len(hosted) == 1:
        ((name, worker),) = hosted.items()
        return _examine(name, worker)
    found = [
        replace(finding, about=f"{name}: {finding.about}")
        for name, worker in hosted.items()
        for finding in _examine(name, worker)
    ]
    return [*found, _together(settings)]


def _together(settings: Settings) -> Finding:
    """Whether the worker's memory limit holds its models."""
    about, sizes = "models", {}
    for name, worker in settings.hosted.items():
        with suppress(ValueError, CheckpointError, StartRefused, OSError):  # told above
            sizes[name] = outlook(name, worker).num_bytes / 1e6
    limit, total = settings.worker.models_memory_mb, sum(sizes.values())
    found = f"{len(settings.hosted)} models hold about {total:.0f} MB, all loaded"
    if limit is None:
        return Finding(about, "ok", f"{found}; MINDALLE_WORKER__MODELS_MEMORY_MB sets no limit")
    found = f"{found}; the limit is {limit} MB"
    large = [name for name, size in sizes.items() if size > limit]
    if large:
        advice = "raise MINDALLE_WORKER__MODELS_MEMORY_MB, or lower MINDALLE_WORKER__ROWS"
        return Finding(about, "problem", f"{found}: never loaded: {', '.join(large)}", advice)
    return Finding(about, "ok", found)


def _examine(name: str, worker: WorkerSettings) -> list[Finding]:
    try:
        preset = get_preset(name)
    except UnknownPresetError as error:
        return [Finding("weights", "problem", str(error), "correct MINDALLE_MODEL")]
    weights, preset = _weights(preset, worker.checkpoint)
    ranking = [_ranking(preset)] if weights.verdict != "problem" else []
    try:
        options = load_options(worker)
    except StartRefused as error:
        advice = "set MINDALLE_WORKER__DEVICE to auto, or install the driver of the device"
        return [weights, *ranking, Finding("device", "problem", str(error), advice)]
    return [weights, *ranking, _device(options), _rows(worker, preset, options)]


def _weights(preset: Preset, checkpoint: Path | None) -> tuple[Finding, Preset]:
    """The finding, and the preset as the folder's own configuration has it."""
    if checkpoint is None and preset.weights is None:
        found = f"{preset.name} ships no weights and no folder is set"
        advice = f"`mindalle pull {preset.name}`; set MINDALLE_WORKER__CHECKPOINT to its folder"
        return Finding("weights", "problem", found, advice), preset
    folder = checkpoint or weights_folder(preset)
    if folder is None:
        return Finding("weights", "ok", f"{preset.name} makes its own"), preset
    try:
        opened = open_checkpoint(folder, verify_sha256=True)
    except CheckpointError as error:
        advice = "fetch the folder again; `mindalle convert` makes one from an official checkpoint"
        return Finding("weights", "problem", str(error), advice), preset
    except OSError as error:
        found = f"{error.filename or folder}: {error.strerror or error}"
        return Finding("weights", "problem", found, "make it readable to this user"), preset
    checked = "every checksum right" if opened.layout == "converted" else "not verified"
    found = f"{folder}: {opened.layout} layout, {checked}, licence {opened.preset.licence}"
    if opened.layout == "converted":
        return Finding("weights", "ok", found), opened.preset
    advice = "`mindalle convert` makes a folder with checksums, which also loads faster"
    return Finding("weights", "warning", found, advice), opened.preset


def _ranking(preset: Preset) -> Finding:
    """Who ranks the pictures; that its file is there, the look at the weights has seen."""
    judge = preset.clip or preset.classifier
    if judge is None:
        return Finding("ranking", "ok", "neither a CLIP nor a classifier ranks candidates")
    return Finding("ranking", "ok", f"{judge.model_name} ranks candidates")


def _device(options: LoadOptions) -> Finding:
    device, number = options.device, options.dtype_name
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
        found = f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free, {number}"
        return Finding("device", "ok", found)
    found = f"{device} with {torch.get_num_threads()} threads, {number}"
    if options.caveat:
        advice = "set MINDALLE_WORKER__DTYPE to auto, or leave it out"
        return Finding("device", "warning", f"{found}: {options.caveat}", advice)
    if torch.cuda.is_available():
        return Finding("device", "warning", found, "a GPU is there: MINDALLE_WORKER__DEVICE=auto")
    return Finding("device", "ok", found)


def _rows(worker: WorkerSettings, preset: Preset, options: LoadOptions) -> Finding:
    number_bytes = options.dtype.itemsize
    weight_bytes = prior_bytes(preset, options)
    rows = worker.rows or default_rows(
        options.device, preset, number_bytes, reserved_bytes=weight_bytes
    )
    row_bytes = preset.row_bytes(number_bytes)
    # Weights are loaded whole before they are put into 8 bits, and before there are rows.
    at_load = weight_bytes
    if options.quantization != "none":
        at_load = prior_bytes(preset, replace(options, quantization="none"))
    needed, free = max(weight_bytes + rows * row_bytes, at_load), _free_bytes(options.device)
    found = (
        f"{rows} rows of {row_bytes / 1e6:.1f} MB and {weight_bytes / 1e6:.0f} MB of weights: "
        f"{needed / 1e9:.1f} of {free / 1e9:.1f} GB free"
    )
    if needed > 0.9 * free:
        return Finding("memory", "problem", found, "lower MINDALLE_WORKER__ROWS")
    return Finding("memory", "ok", found)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
