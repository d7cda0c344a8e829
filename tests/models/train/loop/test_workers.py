"""Real processes that average their gradients."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import torch
from torch import nn

from models.train.loop import workers


def _pull(worker: int, args: Namespace) -> None:
    """Pull a layer's two weights towards 1 in worker 0 and towards 3 in worker 1."""
    layer = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(layer.weight)
    loss = (layer.weight - (1 + 2 * worker)).square().sum() / 2
    torch.autograd.backward(loss)
    mean = workers.average_gradients(layer, loss.detach())
    told = (workers.is_any(worker == 1), workers.is_any(False))
    found = {"grad": layer.weight.grad, "loss": mean, "place": workers.place(), "any": told}
    torch.save(found, args.out / str(worker))


def test_workers_get_the_mean_of_their_gradients(tmp_path: Path) -> None:
    workers.run(_pull, Namespace(workers=2, out=tmp_path))
    for worker in range(2):
        found = torch.load(tmp_path / str(worker), weights_only=True)
        assert found["grad"].tolist() == [[-2.0, -2.0]]
        assert found["loss"] == (1 + 9) / 2
        assert found["place"] == (worker, 2)
        assert found["any"] == (True, False)


def test_one_worker_works_in_this_process(tmp_path: Path) -> None:
    workers.run(_pull, Namespace(workers=1, out=tmp_path))
    found = torch.load(tmp_path / "0", weights_only=True)
    assert found["grad"].tolist() == [[-1.0, -1.0]]
    assert found["loss"] == 1
    assert found["place"] == (0, 1)
