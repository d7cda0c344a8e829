"""Our own weight files: safetensors shards with our names, and a manifest with their sha256.

Shards stay small so that one at a time can be opened, converted and let go; a shard whose type fits
is mapped and used in place. Knows nothing of upstream names.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from models import lookalikes
from models.errors import (
    CorruptFileError,
    HashMismatchError,
    KeyMismatchError,
    KeyReport,
    MissingFileError,
    Shape,
)
from models.files.documents import json_in
from models.files.inside import is_inside

MANIFEST_NAME = "manifest.json"
SHARD_BYTES = 128 * 2**20
_FORMAT = 1
_TYPES = ("F16", "BF16", "F32", "F64")  # that weights are stored in, as headers call them
_MAPPED_BYTES = 2**20  # a small tensor is copied, lest it keep its whole shard mapped
_PIECE_BYTES = 2**21  # a multiple of every type's size


class ShardWriter:
    """Writes tensors into shards of at most SHARD_BYTES each (a larger tensor gets its own)."""

    def __init__(self, folder: Path, dtype: torch.dtype | None) -> None:
        self.folder = folder
        self._dtype = dtype
        self._stages: dict[str, list[str]] = {}
        self._dtypes: dict[str, str] = {}
        self._hashes: dict[str, str] = {}

    def write_stage(self, stage: str, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Write one stage's tensors; each is needed in memory only until its shard is full."""
        names = self._stages.setdefault(stage, [])
        for number, shard in enumerate(_shards(tensors, self._dtype)):
            name = f"{stage}-{number:05d}.safetensors"
            _write(shard, self.folder / name)
            names.append(name)
            self.record(name)
            dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in shard.values()}
            self._dtypes[stage] = ", ".join(sorted(dtypes))

    def record(self, name: str) -> None:
        """Note the sha256 of a file that stands in the folder."""
        self._hashes[name] = sha256(self.folder / name)

    def finish(self, source: dict[str, Any]) -> None:
        """Write the manifest; without it the folder is no checkpoint."""
        manifest = {
            "format": _FORMAT,
            "source": source,
            "dtype": self._dtypes,
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "safetensors": safetensors.__version__,
            },
            "stages": self._stages,
            "sha256": self._hashes,
        }
        (self.folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=1) + "\n")


class ShardedWeights:
    """One stage of a folder of shards, as a `WeightSource`."""

    def __init__(self, folder: Path, stage: str) -> None:
        self._folder = folder
        self._stage = stage
        manifest = read_manifest(folder)
        self._files = [folder / name for name in manifest["stages"].get(stage, [])]
        if not self._files:
            raise MissingFileError(f"{folder / MANIFEST_NAME} lists no files of {stage}")

    def check(self, needed: dict[str, Shape]) -> None:
        """See WeightSource. Reads headers alone."""
        found: dict[str, Shape] = {}
        for path in self._files:
            with _open(path) as shard:
                for name in _names(shard):
                    header = shard.get_slice(name)
                    found[name] = tuple(header.get_shape())
                    _check_type(path, name, header.get_dtype())
        report = KeyReport.compare(needed, found)
        if not report.is_clean:
            raise KeyMismatchError(f"{self._stage} in {self._folder}", report)

    def tensors(
        self, needed: dict[str, Shape], device: torch.device, dtype: torch.dtype | None
    ) -> Iterator[tuple[str, Tensor]]:
        """See WeightSource. What needs no conversion stays in the mapped shard."""
        for path in self._files:
            with _open(path) as shard:
                names = _names(shard)
            for name in names:
                yield name, _read(path, name, device, dtype)


def _write(shard: dict[str, Tensor], path: Path) -> None:
    """OSError where there is no room: the library has an error of its own for that."""
    try:
        save_file(shard, path)
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the manifest.

    Raises:
        MissingFileError: there is none.
        ConfigError: it is no JSON.
        CorruptFileError: not ours, or it names files outside the folder.
    """
    path = folder / MANIFEST_NAME
    manifest = json_in(path)
    try:
        if manifest["format"] != _FORMAT:
            raise CorruptFileError(f"{path} has format {manifest['format']}, not {_FORMAT}")
        hashed, stages = manifest["sha256"].keys(), manifest["stages"].values()
        names = [*hashed, *(name for names in stages for name in names)]
        outside = [name for name in names if not is_inside(name)]
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError(f"{path} is no manifest: {error}") from error
    if outside:
        raise CorruptFileError(f"{path} names a file outside its folder: {outside[0]}")
    return dict(manifest)


def verify(folder: Path) -> int:
    """Compare every listed file's sha256 with the manifest; returns how many were compared.

    Raises:
        MissingFileError: a listed file is absent.
        CorruptFileError: a file is something else, such as a Git LFS pointer.
        HashMismatchError: naming every file that differs.
    """
    recorded: dict[str, str] = read_manifest(folder)["sha256"]
    wrong = [name for name, digest in recorded.items() if sha256(folder / name) != digest]
    for name in wrong:
        if what := lookalikes.content(folder / name, is_text=not name.endswith(".safetensors")):
            raise CorruptFileError(f"{folder / name} {what}")
    if wrong:
        raise HashMismatchError(
            f"sha256 differs from {folder / MANIFEST_NAME}: {', '.join(wrong)}; the files were"
            " changed or damaged"
        )
    return len(recorded)


def sha256(path: Path) -> str:
    """Digest of a file, read in pieces."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise lookalikes.missing(path) from None


def _shards(
    tensors: Iterable[tuple[str, Tensor]], dtype: torch.dtype | None
) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors:
        converted = tensor.detach().to(device="cpu", dtype=dtype or tensor.dtype).contiguous()
        _check_finite(name, converted)
        if shard and size + converted.nbytes > SHARD_BYTES:
            yield shard
            shard, size = {}, 0
        shard[name] = converted
        size += converted.nbytes
    if shard:
        yield shard


def _check_type(path: Path, name: str, stored: str) -> None:
    """CorruptFileError for what would be taken as weights and is none: counts, complex numbers."""
    if stored not in _TYPES:
        raise CorruptFileError(f"{path}: {name} is stored as {stored}, not {', '.join(_TYPES)}")


def _check_finite(name: str, tensor: Tensor) -> None:
    """CorruptFileError for what nothing can be computed with."""
    if not tensor.isfinite().all():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise CorruptFileError(
            f"{name} holds what is no finite number in {kind}: the weights are damaged, or too"
            " large for it (bfloat16 has room)"
        )


def _read(path: Path, name: str, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    with _open(path) as shard:
        view: Tensor = shard.get_tensor(name)
    if view.nbytes < _MAPPED_BYTES:
        return view.to(device=device, dtype=dtype, copy=True)
    if device == view.device and dtype in (None, view.dtype):
        return view
    out = torch.empty(view.shape, device=device, dtype=dtype or view.dtype)
    stored_as = view.dtype
    del view  # pages of a mapping count as resident, so what is converted is read in pieces
    flat, done = out.view(-1), 0
    for piece in _pieces(path, name):
        values = torch.frombuffer(piece, dtype=stored_as)
        flat[done : done + len(values)] = values
        done += len(values)
    return out


def _pieces(path: Path, name: str) -> Iterator[memoryview]:
    """A tensor's bytes in order; each piece is gone when the next one is asked for."""
    buffer = bytearray(_PIECE_BYTES)
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        begin, end = json.loads(file.read(header_bytes))[name]["data_offsets"]
        file.seek(8 + header_bytes + begin)
        for left in range(end - begin, 0, -_PIECE_BYTES):
            piece = memoryview(buffer)[: min(left, _PIECE_BYTES)]
            if file.readinto(piece) != len(piece):
                raise CorruptFileError(f"{path} is shorter than its header says")
            yield piece


def _names(shard: Any) -> list[str]:
    """What a shard holds, in the order of its bytes, so that it is read front to back."""
    return list(shard.offset_keys())


@contextmanager
def _open(path: Path) -> Iterator[Any]:  # the library's handle has no type of its own
    if not path.is_file():
        raise lookalikes.missing(path)
    path.open("rb").close()  # the library says of what may not be read that it is not there
    try:
        with safe_open(path, framework="pt", device="cpu") as shard:
            yield shard
    except SafetensorError as error:
        what = lookalikes.content(path) or f"can't be read: {error}"
        raise CorruptFileError(f"{path} {what}") from error
