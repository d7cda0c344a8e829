"""What to do where memory ran out: giving back what is only cached, and what still fits.

And whether the device works at all. Knows no model and no jobs.
"""

from __future__ import annotations

import ctypes
import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar

import torch

from models.errors import is_out_of_memory

_T = TypeVar("_T")

_FOR_ROWS = 0.6  # of what is free; the rest is for what is computed on the way

_log = logging.getLogger(__name__)


def is_lost(device: torch.device) -> bool:
    """Whether it does nothing more for this process, as a GPU after some errors of CUDA's."""
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:
        return not is_out_of_memory(error)
    return False


def is_of_device(error: Exception, device: torch.device) -> bool:
    """Whether an error says nothing of what was computed: the memory ran out, or it is lost."""
    return is_out_of_memory(error) or is_lost(device)


@dataclass(frozen=True, slots=True)
class Failure:
    """What is kept of an error: the frames of its traceback hold the memory that it ran in."""

    text: str
    is_out_of_memory: bool

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """What an operator may read of it, and whether memory ran out."""
        return cls(f"{type(error).__name__}: {error}", is_out_of_memory(error))


def free_device_memory() -> None:
    """Let go of what nobody uses, on a CPU as well."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    # glibc keeps what was freed on other threads; other C libraries have no such call.
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def free_bytes(device: torch.device) -> int | None:
    """What models may still take, the allocator's reserve included; None where nobody can tell."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def retried(make: Callable[[], _T], on_out_of_memory: Callable[[], None]) -> _T:
    """What `make` gives; where memory runs out, once more without what is only cached."""
    try:
        return make()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        _log.warning("out of memory; trying once more")
        on_out_of_memory()
    free_device_memory()  # out here, where the error no longer holds what there was
    return make()


def largest_that_fits(num_rows: int, make: Callable[[int], _T]) -> tuple[int, _T]:
    """What `make` gives for `num_rows`, or for half as many where memory runs out, and so on.

    Raises what `make` raised when the memory does not hold one row.
    """
    while True:
        try:
            return num_rows, make(num_rows)
        except Exception as error:
            if not is_out_of_memory(error) or num_rows == 1:
                raise
            _log.warning("no memory for so many rows", extra={"num_rows": num_rows})
        free_device_memory()  # out here, where the error no longer holds what there was
        num_rows //= 2


def rows_that_fit(
    device: torch.device,
    bytes_per_row: int,
    *,
    most: int,
    reserved_bytes: int = 0,
) -> int:
    """Rows that fit into their part of a CUDA device's free memory: a multiple of 8, or fewer."""
    free_bytes, _ = torch.cuda.mem_get_info(device)
    rows = min(most, max(0, int((free_bytes - reserved_bytes) * _FOR_ROWS)) // bytes_per_row)
    return max(1, rows - rows % 8 if rows > 8 else rows)
