"""Tensors out of a TorchScript archive, the form of OpenAI's CLIP files, without running it.

The archive's pickle is read by an unpickler that knows tensors and plain containers; the archive's
own classes become empty shells that hold attributes. Nothing is imported, compiled or called.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models import lookalikes
from models.errors import CorruptFileError, UnsafePickleError

_STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


def is_torchscript(path: Path) -> bool:
    """Whether the file is a TorchScript archive: a zip with code in it.

    Raises:
        CorruptFileError: it is a zip, and its directory is damaged.
    """
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except lookalikes.DAMAGED_ZIP as error:
        raise CorruptFileError(f"{path} is damaged: {error}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor attribute of the archive's module by its dotted name.

    Raises:
        UnsafePickleError: the pickle asks for anything but tensors and containers.
        CorruptFileError: it can't be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
            with archive.open(name) as stream:
                root = _Unpickler(stream, archive, name.removesuffix("data.pkl")).load()
        return dict(_tensors(root, ""))
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{path} was not loaded: {error}") from None
    except Exception as error:  # a damaged stream may raise whatever its bytes lead to
        raise CorruptFileError(f"{path} is damaged: {error}") from error


class _Shell:
    """Stands for any object of a class that the archive defines."""

    attributes: dict[str, Any]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.attributes = dict(state)


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: Any, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(stream)
        self._archive = archive
        self._root = root

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Shell
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        found = _ALLOWED.get(f"{module}.{name}")
        if found is None:
            raise UnsafePickleError(f"its pickle asks for {module}.{name}")
        return found

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, num_elements = pid
        data = bytearray(self._archive.read(f"{self._root}data/{key}"))
        if not num_elements:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(data, dtype=dtype, count=num_elements)


def _rebuild_tensor(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Tensor:
    return storage.as_strided(size, stride, offset)


def _first(value: Any, *_: Any) -> Any:
    return value


_ALLOWED: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch.jit._pickle.restore_type_tag": _first,
    "torch.jit._pickle.build_intlist": _first,
    "torch.jit._pickle.build_doublelist": _first,
    "torch.jit._pickle.build_boollist": _first,
    "torch.jit._pickle.build_tensorlist": _first,
}


def _tensors(node: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in node.attributes.items():
        if isinstance(value, Tensor):
            yield f"{path}{name}", value
        elif isinstance(value, _Shell):
            yield from _tensors(value, f"{path}{name}.")
