from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from models.train.loop.pace import Pace
from models.train.loop.pictures import tensorboard
from models.train.loop.run import Run


def test_the_first_step_is_counted_where_the_peak_is_known() -> None:
    layer, taken = nn.Linear(8, 4, bias=False), list[int]()

    def step_once(step: int) -> dict[str, float]:
        taken.append(step)
        torch.autograd.backward(layer(torch.ones(2, 8)).sum())
        return {"loss": 1.0}

    pace = Pace(2, peak=1.0)
    assert [pace.step(step_once, step) for step in (3, 4)] == [{"loss": 1.0}] * 2
    told = pace.figures(num_left=10)
    forward_and_weights = 2 * (2 * 2 * 8 * 4)
    assert told["mfu"] * 2 / told["pictures_s"] == pytest.approx(forward_and_weights, rel=1e-2)
    assert told["left_s"] * told["pictures_s"] == pytest.approx(2 * 10, rel=1e-2)
    assert told["memory_gib"] > 0
    assert taken == [3, 4]
    assert Pace(2).figures(0).keys() == told.keys() - {"mfu"}


def test_the_log_is_mirrored_to_tensorboard(tmp_path: Path) -> None:
    run = Run(tmp_path, 0)
    run.mirrors.append(tensorboard(tmp_path))
    run.log(20, loss=0.5)
    run.log(40, loss=0.25, val_psnr=20.0)
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(20, 0.5), (40, 0.25)]
    assert found.Scalars("val_psnr")[0].value == 20.0
