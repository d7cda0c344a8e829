"""Devices, as the flags of measuring commands name them."""

from __future__ import annotations

from argparse import ArgumentTypeError

import torch

from models.errors import is_out_of_memory


def device(text: str) -> torch.device:
    """A device that can be computed on, now and here; argparse's own error for any other."""
    try:
        found = torch.device(text)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise ArgumentTypeError(f"there is no memory left on {text!r}") from None
        there = "cpu, cuda or cuda:1" if torch.cuda.is_available() else "cpu"
        raise ArgumentTypeError(f"there is no device {text!r} here; try {there}") from None
    return found
