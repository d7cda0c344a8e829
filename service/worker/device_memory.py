"""Whether an error says that memory ran out, and giving back what is only cached.

Knows no model and no jobs.
"""

from __future__ import annotations

import gc

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, or the CPU's allocator, had no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def free_device_memory() -> None:
    """Let go of what nobody uses."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def rows_that_fit(
    device: torch.device,
    bytes_per_row: int,
    *,
    most: int,
    part: float = 0.6,
    reserved_bytes: int = 0,
) -> int:
    """Rows that fit into `part` of a CUDA device's free memory: a multiple of 8, or fewer."""
    free_bytes, _ = torch.cuda.mem_get_info(device)
    rows = min(most, max(0, int((free_bytes - reserved_bytes) * part)) // bytes_per_row)
    return max(1, rows - rows % 8 if rows > 8 else rows)
