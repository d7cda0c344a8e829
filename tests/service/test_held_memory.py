from __future__ import annotations

import torch

from models.pipeline import load
from models.presets.register import get_preset
from service.worker.held_memory import held_bytes


def test_what_is_shared_counts_once() -> None:
    tensor = torch.zeros(1000)
    assert held_bytes({"a": [tensor, tensor[10:]], "b": (tensor.view(10, 100),)}) == 4000
    assert held_bytes(tensor, torch.zeros(10)) == 4040


def test_a_packed_weight_counts() -> None:
    packed = torch.ops.mkldnn._reorder_linear_weight(torch.zeros(32, 64), None)
    assert held_bytes([packed]) == 4 * 32 * 64


def test_rows_take_what_their_preset_says() -> None:
    pipeline, row_bytes = load("tiny"), get_preset("tiny").row_bytes(4)
    few, many = (held_bytes(pipeline.batch(rows)) for rows in (8, 64))
    assert abs((many - few) - 56 * row_bytes) < 0.1 * 56 * row_bytes
