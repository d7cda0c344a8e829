"""Devices by name; those that are not there are tested with the commands."""

from argparse import ArgumentTypeError

import pytest
import torch

from models.measure.devices import device


def test_a_device_without_memory_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch, "zeros", full)
    with pytest.raises(ArgumentTypeError, match="there is no memory left on 'cpu'"):
        device("cpu")
