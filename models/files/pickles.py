"""Reading pickled tensors without running anything that a pickle may ask for.

`torch.load(weights_only=True)` is the only way in; this file maps the file into memory where its
format allows that, and turns every failure into an error that says what is wrong with the file.
What a training framework left beside the tensors can be replaced by objects that do nothing.
"""

from __future__ import annotations

import io
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models import lookalikes
from models.errors import CorruptFileError, UnsafePickleError

_ZIP_MAGIC = b"PK\x03\x04"
_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_HARMLESS = re.compile(
    r"collections\.OrderedDict|torch\.\w+Storage|torch\.storage\.\w+|torch\.b?float\d+"
    r"|torch\._utils\._rebuild_(tensor_v2|parameter)"
)


# Classes of what training saves beside its tensors: callbacks, options, scores; see `load_pickle`.
OF_TRAINING = (
    r"(pytorch_lightning|lightning|lightning_fabric|omegaconf|taming|main|numpy|argparse|pathlib"
    r"|typing|collections)\..+|(builtins|__builtin__)\.(dict|list|set|tuple|int|float|str|bool|object)"
)


class _Inert:
    """Stands for an object of a class that isn't here: takes what it is given, and does nothing."""

    def __new__(cls, *_args: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_args: Any) -> None: ...

    def __setstate__(self, _state: Any) -> None: ...

    def __setitem__(self, _key: Any, _value: Any) -> None: ...


def load_pickle(path: Path, inert: str = "") -> Any:
    """Load a file of tensors and plain containers.

    Args:
        path: the file.
        inert: a pattern of the whole names of classes that may stand beside them; whatever is made
            of these does nothing.

    Raises:
        MissingFileError: no such file.
        UnsafePickleError: the pickle names anything else.
        CorruptFileError: cut short, or no pickle at all.
    """
    if not path.is_file():
        raise lookalikes.missing(path)
    with path.open("rb") as file:
        is_zip = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC  # older files can't be mapped
    try:
        return _load(path, is_zip)
    except Exception as error:  # a damaged stream may raise whatever its bytes lead to
        if what := lookalikes.content(path):
            raise CorruptFileError(f"{path} {what}") from error
        foreign = _foreign(path, is_zip)
        if unsafe := [name for name in foreign if not re.fullmatch(inert, name)]:
            raise UnsafePickleError(
                f"{path} was not loaded: its pickle asks for {', '.join(unsafe)}, which might"
                " run code; only tensors and plain containers are accepted"
            ) from error
        if not foreign:
            raise _damaged(path, error) from error
    try:
        return _load(path, is_zip, foreign)
    except Exception as error:
        raise _damaged(path, error) from error


def _load(path: Path, is_zip: bool, inert: Iterable[str] = ()) -> Any:
    """What the file holds, with objects of some classes replaced."""
    replaced: list[Any] = [(_Inert, name) for name in inert]  # Any: as torch declares it
    with warnings.catch_warnings(), torch.serialization.safe_globals(replaced):
        warnings.simplefilter("ignore")  # it warns of the pickle protocol before it refuses
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)


def _damaged(path: Path, error: Exception) -> CorruptFileError:
    return CorruptFileError(f"{path} is damaged or no checkpoint: {_brief(error)}")


def read_state_dict(
    path: Path, key: str = "state_dict", unread: str = "", inert: str = ""
) -> dict[str, Tensor]:
    """Load the state dict of a checkpoint, or a bare state dict.

    Args:
        path: the file.
        key: under which name of the checkpoint it stands.
        unread: a pattern of the whole names of tensors that are left out, whatever they are.
        inert: see `load_pickle`.

    Raises:
        CheckpointError: as `load_pickle`, and CorruptFileError where it is no state dict.
    """
    loaded = load_pickle(path, inert)
    state = _state_in(loaded, key) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not state:
        raise CorruptFileError(f"{path} holds no {'state dict' if key == 'state_dict' else key}")
    read = {}
    for name, tensor in state.items():
        if not isinstance(name, str):
            raise CorruptFileError(f"{path} holds no state dict: {name!r} is no name")
        if re.fullmatch(unread, name):
            continue
        if not _is_weights(tensor):
            raise CorruptFileError(f"{path}: {name} is no tensor of floating-point numbers")
        read[name] = tensor
    return read


def _is_weights(value: Any) -> bool:
    """Whether it is a tensor that can be computed with as it is: no sparse one, none of 8 bits."""
    if not isinstance(value, Tensor) or value.dtype not in _TYPES:
        return False
    return value.layout == torch.strided and not value.is_meta and not value.is_nested


def _state_in(loaded: dict[Any, Any], key: str) -> Any:
    if key == "state_dict":
        return loaded.get(key, loaded)
    return loaded.get(key)


def _brief(error: Exception) -> str:
    """What went wrong in one line, without torch's advice to load the file unsafely."""
    text = str(error)
    if "Weights only load failed" in text:
        return "its pickle can't be read"
    return text.splitlines()[0].partition(". ")[0][:200] if text else type(error).__name__


def _foreign(path: Path, is_zip: bool) -> list[str]:
    """Names that the file's pickle refers to and that are no tensors."""
    return sorted({name for name in _globals(path, is_zip) if not _HARMLESS.fullmatch(name)})


def _globals(path: Path, is_zip: bool) -> Iterator[str]:
    """Every name that the file's pickle refers to, as far as it can be read; nothing is run."""
    try:
        stream = io.BytesIO(_pickle_bytes(path, is_zip))
        strings = ["", ""]
        while True:  # an old file is several pickles, one behind the other, and then numbers
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST"):
                    yield str(argument).replace(" ", ".")
                elif opcode.name == "STACK_GLOBAL":
                    yield ".".join(strings[-2:])
                elif isinstance(argument, str):
                    strings.append(argument)
    except Exception:  # a damaged archive may raise whatever its bytes lead to
        return  # what can't be read can't be named


def _pickle_bytes(path: Path, is_zip: bool) -> bytes:
    if not is_zip:
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("data.pkl")]
        return archive.read(names[0])
