"""Batches that other processes make ahead: the same ones, in order, and their errors."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

from models.errors import ConfigError
from models.train.loop.loaders import Loaders


def _batch(step: int) -> tuple[int, Tensor]:
    if step == 9:
        raise ConfigError("no picture of step 9")
    return os.getpid(), torch.arange(3) * step


@pytest.mark.parametrize("number", [0, 1, 2])
def test_each_step_gets_its_own_batch_from_any_first_step_on(number: int) -> None:
    loaders = Loaders(_batch, number)
    for step in range(2, 8):
        assert loaders.batch(step)[1].tolist() == [0, step, 2 * step]


def test_batches_are_made_by_as_many_processes_as_asked_for_and_not_by_this_one() -> None:
    loaders = Loaders(_batch, 2)
    makers = {loaders.batch(step)[0] for step in range(6)}
    assert len(makers) == 2
    assert os.getpid() not in makers


@pytest.mark.parametrize("number", [0, 2])
def test_an_error_of_a_batch_ends_its_own_step_and_none_before(number: int) -> None:
    loaders = Loaders(_batch, number)
    assert [int(loaders.batch(step)[1][1]) for step in (7, 8)] == [7, 8]
    with pytest.raises(ConfigError, match="no picture of step 9"):
        loaders.batch(9)
