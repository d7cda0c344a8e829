"""A run's checkpoints, by torch.distributed.checkpoint in safetensors, so that none is unpickled.

A folder `checkpoints/000100` holds the tensors, a file or more of each process, and `state.json`,
written last, with all the rest; any number of processes reads what any number wrote. The
`state.pt` of older runs is read, too. Knows no model.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.state_dict_loader import load as read
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.distributed.checkpoint.state_dict_saver import save as write
from torch.distributed.tensor import DTensor

from models.errors import CorruptFileError, MissingFileError
from models.files.documents import json_in
from models.train.loop.engine import placed
from models.train.loop.processes import PATIENCE, is_first, place

State = dict[str, object]
FOLDER, OLD = "checkpoints", "state.pt"
_FACTS = "state.json"


class Checkpoints:
    """The checkpoints of a run's folder: one `every` so many steps; the last `kept` stay."""

    def __init__(self, run: Path, every: int, kept: int = 2) -> None:
        self.folder, self.every, self.kept = run / FOLDER, every, kept
        self._writing: Future[None] | None = None
        # A group of its own: what is written beside training must not get into its messages.
        is_one = place()[1] == 1
        self._group = None
        if not is_one:
            group = dist.new_group(backend="gloo", timeout=PATIENCE)
            self._group = cast(dist.ProcessGroup, group)

    def save(self, state: State) -> None:
        """Write a state beside whatever comes next; all processes call it.

        One process alone writes it at once.
        """
        self.finish()
        folder = self.folder / f"{cast(int, state['step']):06d}"
        tensors: dict[str, Tensor] = {}
        facts = _parted(state, "", tensors)
        tensors = _apart(tensors)
        if is_first():
            _remove(folder)
            folder.mkdir(parents=True)
        writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
        if self._group is None:
            with _alone(), _plainly():
                write(tensors, storage_writer=writer, no_dist=True)
            self._complete(folder, facts)
            return
        dist.barrier(self._group)
        writing = async_save(tensors, storage_writer=writer, process_group=self._group)
        self._writing = cast("Future[None]", writing)
        if is_first():
            self._writing = _then(self._writing, partial(self._complete, folder, facts))

    def finish(self) -> None:
        """Wait for what is being written; OSError and the like where it failed."""
        if self._writing is not None:
            with _plainly():
                self._writing.result()
            self._writing = None

    def _complete(self, folder: Path, facts: object) -> None:
        """Say that a checkpoint is whole, in one rename.

        Let go of the oldest, of halves, and of those that an earlier run left at later steps.
        """
        part = folder / f"{_FACTS}.part"
        part.write_text(json.dumps(facts))
        part.replace(folder / _FACTS)
        kept = [one for one in _whole_ones(self.folder) if _step(one) <= _step(folder)]
        for old in set(filter(_is_one, self.folder.iterdir())) - set(kept[-self.kept :]):
            _remove(old)


def run_of(folder: Path) -> Path:
    """The run that a checkpoint's folder belongs to; a run's folder is its own."""
    return folder.parents[1] if folder.parent.name == FOLDER else folder


def latest(folder: Path) -> Path | None:
    """The last whole checkpoint of a run's folder, or the one that the folder is."""
    if (folder / _FACTS).is_file():
        return folder
    found = _whole_ones(folder / FOLDER)
    old = folder / OLD
    return found[-1] if found else old if old.is_file() else None


def load(path: Path, like: Mapping[str, Tensor] | None = None, part: str = "") -> State:
    """The state in a checkpoint, whole, or in shards as those of `like` at the same place.

    CheckpointError where files of it are damaged or missing.

    `like` names tensors by their place, or by that above them. With a `part` only what is at or
    below that place is read, the rest of the tensors are empty.
    """
    like = like or {}
    tensors: dict[str, Tensor] = {}
    if path.name == OLD:
        old = torch.load(path, map_location="cpu", weights_only=True)
        facts = _parted(old, "", tensors)
        return cast(State, _joined(facts, _placed(tensors, like)))
    facts = json_in(path / _FACTS)
    _check(path)
    tensors = {
        at: _room(like, at, torch.empty(size, dtype=getattr(torch, kind)))
        for at, size, kind in _tensors_in(facts)
        if at.startswith(part)
    }
    reader = HuggingFaceStorageReader(str(path))
    try:
        with _alone(), _plainly():
            # Each process reads what it keeps and asks no other: the first may read alone.
            read(cast(dict[str, Any], tensors), storage_reader=reader, no_dist=True)
    except CheckpointException as error:
        raise CorruptFileError(f"{path} lacks tensors that {_FACTS} there names") from error
    return cast(State, _joined(facts, tensors))


def _check(folder: Path) -> None:
    """CorruptFileError for a file that was cut, of which torch tells by a trace of its own."""
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt"):
                pass
        except SafetensorError as error:
            raise CorruptFileError(f"{file} can't be read: {error}") from error


def averaged(run: Path) -> tuple[int, dict[str, Tensor]]:
    """A run's step and its averaged weights; MissingFileError where it holds none."""
    path = latest(run)
    if path is None:
        raise MissingFileError(f"{run} holds no checkpoint of a run")
    state = cast(dict[str, Any], load(path, part="average/"))
    return int(state["step"]), state["average"]


@contextmanager
def _alone() -> Iterator[None]:
    """Where a process reads or writes alone torch warns of it, asked to or not."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*intent is to (save|load) in a single process")
        yield


@contextmanager
def _plainly() -> Iterator[None]:
    """Torch tells what failed by the process that it failed in, with the ways to it."""
    try:
        yield
    except CheckpointException as error:
        for cause, _ in error.failures.values():
            if isinstance(cause, OSError):
                raise cause from error
        raise


def _whole_ones(folder: Path) -> list[Path]:
    """In the order of their steps."""
    found = (path.parent for path in folder.glob(f"*/{_FACTS}"))
    return sorted(filter(_is_one, found), key=_step)


def _is_one(folder: Path) -> bool:
    """Whether a folder is named as `save` names them: what else lies there is not ours."""
    return folder.name.isdecimal()


def _step(folder: Path) -> int:
    return int(folder.name)


def _remove(folder: Path) -> None:
    """First what says that it is whole, so that a kill in between leaves a half."""
    (folder / _FACTS).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _then(writing: Future[None], act: Callable[[], None]) -> Future[None]:
    """Done when `act` is, which is done only where the writing has not failed."""
    both: Future[None] = Future()

    def go_on(_: object) -> None:
        try:
            writing.result()
            act()
        except BaseException as error:  # whoever waits is told
            both.set_exception(error)
        else:
            both.set_result(None)

    writing.add_done_callback(go_on)
    return both


def _parted(value: Any, at: str, tensors: dict[str, Tensor]) -> Any:
    """What JSON can hold of nested values; tensors go to `tensors`, by their place."""
    if isinstance(value, Tensor):
        tensors[at] = value
        return {"tensor": [at, list(value.shape), str(value.dtype).removeprefix("torch.")]}
    if isinstance(value, Mapping):
        return {
            "map": [[key, _parted(own, _below(at, key), tensors)] for key, own in value.items()]
        }
    if isinstance(value, list | tuple):
        return [_parted(own, _below(at, key), tensors) for key, own in enumerate(value)]
    return value


def _joined(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The reverse; tensors that are not there are empty."""
    if isinstance(value, dict) and "tensor" in value:
        return tensors.get(value["tensor"][0], torch.empty(0))
    if isinstance(value, dict):
        return {key: _joined(own, tensors) for key, own in value["map"]}
    if isinstance(value, list):
        return [_joined(own, tensors) for own in value]
    return value


def _tensors_in(value: Any) -> Iterator[tuple[str, list[int], str]]:
    if isinstance(value, dict) and "tensor" in value:
        yield tuple(value["tensor"])
    elif isinstance(value, dict):
        for _, own in value["map"]:
            yield from _tensors_in(own)
    elif isinstance(value, list):
        for own in value:
            yield from _tensors_in(own)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same without shared memory, such as tied weights', which safetensors refuses."""
    seen: set[int] = set()
    parted = {}
    for at, value in tensors.items():
        pointer = value.to_local().data_ptr() if isinstance(value, DTensor) else value.data_ptr()
        parted[at] = value.clone() if pointer in seen else value
        seen.add(pointer)
    return parted


def _below(at: str, key: object) -> str:
    return f"{at}/{key}" if at else str(key)


def _like(like: Mapping[str, Tensor], at: str, value: Tensor) -> Tensor:
    """What a tensor is to be kept like: itself, where nothing of its shape is known there."""
    known = like.get(at, like.get(at.rpartition("/")[0], value))
    return known if known.shape == value.shape else value


def _room(like: Mapping[str, Tensor], at: str, value: Tensor) -> Tensor:
    """An empty tensor to read into."""
    return torch.empty_like(_like(like, at, value), dtype=value.dtype)


def _placed(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {at: placed(value, _like(like, at, value)) for at, value in tensors.items()}
