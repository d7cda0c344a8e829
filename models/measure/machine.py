"""What this machine can do at most: bytes per second from memory, multiplications per second.

Measured with torch itself, in the same process and on the same threads as what is compared with
it, so a share of these ceilings means the same on any machine. Knows no model.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from models.stage2.packing import is_native

_PROBE_BYTES = 2**28  # well above any cache
_PROBE_SIDE = 1536
_SLOW_PROBE_SIDE = 384  # a CPU that lacks the type would need half a minute
_REPEATS = 5


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The best of a few tries each."""

    read_bytes_s: float
    copy_bytes_s: float  # read and written bytes together
    flops: dict[str, float]  # by type: two per multiply-add

    @property
    def bytes_s(self) -> float:
        """The higher of both bandwidths."""
        return max(self.read_bytes_s, self.copy_bytes_s)


def measure(device: torch.device, dtypes: list[torch.dtype]) -> Ceilings:
    """Probe memory and matrix units; takes a few seconds."""
    source = torch.ones(_PROBE_BYTES // 4, device=device)
    target = torch.empty_like(source)
    read_s = best_of(_REPEATS, device, source.sum)
    copy_s = best_of(_REPEATS, device, lambda: target.copy_(source))
    return Ceilings(
        read_bytes_s=_PROBE_BYTES / read_s,
        copy_bytes_s=2 * _PROBE_BYTES / copy_s,
        flops={name_of(dtype): _matmul_flops(device, dtype) for dtype in dtypes},
    )


def _matmul_flops(device: torch.device, dtype: torch.dtype) -> float:
    side = _PROBE_SIDE if is_native(device, dtype) else _SLOW_PROBE_SIDE
    left, right = torch.randn(2, side, side, device=device).to(dtype)
    return 2 * side**3 / best_of(_REPEATS, device, lambda: left @ right)


def best_of(repeats: int, device: torch.device, work: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs after one that warms up."""
    work()
    return min(seconds(device, work) for _ in range(repeats))


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """How long one run takes until the device is done with it."""
    _wait_for(device)
    start = time.perf_counter()
    work()
    _wait_for(device)
    return time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def name_of(dtype: torch.dtype) -> str:
    """`float32` for torch.float32."""
    return str(dtype).removeprefix("torch.")


def describe(device: torch.device) -> dict[str, object]:
    """Hardware and versions, for the record."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),  # what else runs here spoils timings
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_name() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text("utf-8").splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown CPU"
