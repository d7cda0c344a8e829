"""Which errors say that memory ran out, and whether a device works."""

from __future__ import annotations

import pytest
import torch

from models.errors import is_out_of_memory
from service.worker.device_memory import is_lost


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        torch.AcceleratorError("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_memory_runs_out_in_many_words(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        RuntimeError("out of memory, says a job"),
        ValueError("can't allocate memory"),
    ],
)
def test_other_errors_are_no_lack_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_a_device_that_computes_is_not_lost() -> None:
    assert not is_lost(torch.device("cpu"))
    assert is_lost(torch.device("cuda", 99))


def test_a_device_without_memory_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def zeros(*_arguments: object, **_options: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(torch, "zeros", zeros)
    assert not is_lost(torch.device("cpu"))
