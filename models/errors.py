"""What can go wrong with a model's folder: errors with messages for people.

All but a failed download are CheckpointErrors. A message names the file that is at fault; none of
these is raised for a bad prompt. And which errors of others say that memory ran out. Knows no
torch, so that every command can ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Shape = tuple[int, ...]

# In errors that are of no type of their own: of the CPU's allocator, of CUDA where it is not torch
# that asks (for a graph, a kernel's code), of its libraries.
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, or the CPU's allocator, had no memory left."""
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    is_torchs_own = type(error).__name__ == "OutOfMemoryError"
    return is_torchs_own or any(text in str(error) for text in _OUT_OF_MEMORY)


class CheckpointError(Exception):
    """A model's folder can't be used as it is."""


class MissingFileError(CheckpointError):
    """A file that the folder must have is not there."""


class ConfigError(CheckpointError):
    """config.yaml (or another description) has an unknown key or an impossible value."""


class CorruptFileError(CheckpointError):
    """A file is cut short or is not of the kind that its name says."""


class UnsafePickleError(CheckpointError):
    """A pickle asks for something other than tensors, so it might run code; it was not loaded."""


class HashMismatchError(CheckpointError):
    """A file's sha256 is not the one that the manifest recorded."""


class UnsafeArchiveError(CheckpointError):
    """An archive asks for something other than files inside its own folder, or for too much."""


class WrongChecksumError(CheckpointError):
    """What was fetched is not the file that its publisher told the digest of."""


class DownloadError(Exception):
    """No address gives the file, and why. What has come stays: the next call goes on from there."""


class UnsoundWeightsError(CheckpointError):
    """What the model computes is not finite, so it means nothing."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} are not finite numbers: the weights are damaged, or too large for their number"
            " type; fetch them again, or try float32"
        )


@dataclass(frozen=True, slots=True)
class KeyReport:
    """How the tensors of a file differ from those that the model needs."""

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    wrong_shape: tuple[tuple[str, Shape, Shape], ...] = field(default=())  # name, needed, found

    @classmethod
    def compare(cls, needed: Mapping[str, Shape], found: Mapping[str, Shape]) -> KeyReport:
        """List every difference at once, in the order of the names."""
        return cls(
            missing=tuple(sorted(needed.keys() - found.keys())),
            unexpected=tuple(sorted(found.keys() - needed.keys())),
            wrong_shape=tuple(
                (name, needed[name], found[name])
                for name in sorted(needed.keys() & found.keys())
                if needed[name] != found[name]
            ),
        )

    @property
    def is_clean(self) -> bool:
        """True if nothing differs."""
        return not (self.missing or self.unexpected or self.wrong_shape)

    def __str__(self) -> str:
        lines = [f"  missing      {name}" for name in self.missing]
        lines += [f"  unexpected   {name}" for name in self.unexpected]
        lines += [
            f"  wrong shape  {name}: {_dims(found)} in the file, {_dims(needed)} by the config"
            for name, needed, found in self.wrong_shape
        ]
        return "\n".join(lines)


class KeyMismatchError(CheckpointError):
    """The tensors of a file are not those that the model needs; `report` lists all of them."""

    def __init__(self, where: str, report: KeyReport) -> None:
        counts = (
            f"{len(report.missing)} missing, {len(report.unexpected)} unexpected, "
            f"{len(report.wrong_shape)} of wrong shape"
        )
        super().__init__(f"{where} does not fit its config ({counts}):\n{report}")
        self.report = report


def _dims(shape: Shape) -> str:
    return "×".join(map(str, shape)) if shape else "a scalar"
