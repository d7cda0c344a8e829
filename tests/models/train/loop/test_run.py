from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from models.train.loop.checkpoints import Checkpoints, averaged
from models.train.loop.learner import Average, Learner, NotFiniteError, Weights, naming
from models.train.loop.pace import Pace
from models.train.loop.run import Run, train
from models.train.loop.schedule import Schedule


def test_schedule_warms_up_and_falls_to_its_floor() -> None:
    schedule = Schedule(100, warm_up=10, floor=0.1)
    assert schedule.factor(0) == pytest.approx(0.1, abs=0.01)
    assert schedule.factor(50) == pytest.approx(0.55)
    assert schedule.factor(100) == schedule.factor(500) == pytest.approx(0.1)


def test_schedule_scales_each_optimisers_own_rate() -> None:
    adam = torch.optim.AdamW([nn.Parameter(torch.ones(2))], lr=0.5)
    for step in (99, 50):
        Schedule(100, warm_up=1, floor=0.0).apply(adam, step)
    assert adam.param_groups[0]["lr"] == pytest.approx(0.25)


def test_a_step_has_one_source_of_randomness(tmp_path: Path) -> None:
    first, again = Run(tmp_path, 3), Run(tmp_path, 3)
    assert first.rng(7).random() == again.rng(7).random()
    assert first.rng(7).random() != first.rng(8).random()
    assert Run(tmp_path, 4).rng(7).random() != first.rng(7).random()
    draws = [torch.rand(3, generator=first.torch_rng(7, process=number)) for number in (0, 1, 1)]
    assert torch.equal(draws[1], draws[2])
    assert not torch.equal(draws[0], draws[1])
    with first.seeded(7):
        assert torch.equal(torch.rand(3), draws[0])


def test_average_follows_the_weights() -> None:
    model = nn.Linear(1, 1)
    average = Average(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(5.0)
    for step in range(200):
        average.update(model, step)
    assert average.weights["weight"].item() == pytest.approx(5.0, abs=1e-3)


def learner(decay: float = 0.9, rate: float = 0.1) -> Learner:
    """One weight, to be learnt by plain gradients."""
    model = nn.Linear(1, 1)
    sgd = partial(torch.optim.SGD, lr=rate)
    return Learner(model, model.forward, lambda m: [sgd(m.parameters())], Schedule(9), decay=decay)


def step_of(learning: Learner, step: int) -> dict[str, float]:
    one = torch.ones(1, 1)
    return {"loss": learning.update(step, [lambda: learning.compute(one).square().sum()])}


def test_train_logs_and_does_its_chores_at_their_times_and_at_the_end(tmp_path: Path) -> None:
    run, learning = Run(tmp_path, 0), learner()
    done: list[tuple[int, int]] = []

    def look(step: int, weights: Weights) -> None:
        assert torch.equal(weights["weight"], learning.average.weights["weight"])
        done.append((step, averaged(tmp_path)[0]))

    steps = partial(step_of, learning)
    train(run, range(3, 8), steps, learning, Checkpoints(tmp_path, 2), Pace(1), every=[(4, look)])
    assert done == [(3, 4), (7, 8)]  # saving comes first
    assert [row["step"] for row in run.history()] == [7]
    run.plot("loss")
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_a_log_that_was_cut_is_still_drawn(tmp_path: Path) -> None:
    run = Run(tmp_path, 0)
    run.log(1, loss=3.0)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')  # killed, or the disk was full
    run.log(3, loss=2.0)
    assert [row["step"] for row in run.history()] == [1, 3]
    run.plot("loss")


def test_when_told_to_end_a_run_saves_after_the_step_under_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, learning = Run(tmp_path, 0), learner()

    def step_once(step: int) -> dict[str, float]:
        if step == 4:
            signal.raise_signal(signal.SIGTERM)
        return step_of(learning, step)

    before = signal.getsignal(signal.SIGTERM)
    train(run, range(3, 99), step_once, learning, Checkpoints(tmp_path, 1000), Pace(1))
    assert averaged(tmp_path)[0] == 5
    assert "--resume goes on" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_loss_that_is_no_number_changes_nothing_and_names_its_pictures() -> None:
    learning = learner()
    weight = learning.model.get_parameter("weight")
    before = weight.detach().clone()
    with (
        pytest.raises(NotFiniteError, match=r"nan at step 7; its pictures: a\.png, b\.png"),
        naming(lambda: ["a.png", "b.png"]),
    ):
        learning.update(7, [lambda: weight.sum() * torch.nan])
    with pytest.raises(NotFiniteError, match=r"the gradients' norm is (nan|inf) at step 7"):
        learning.update(7, [weight.mul(0).sum().sqrt])  # 0, and as steep as can be
    assert torch.equal(weight, before)
    assert learning.next_step == 0


def test_a_run_goes_on_at_the_rate_of_its_options() -> None:
    begun, again = learner(rate=0.1), learner(rate=0.02)
    step_of(begun, 0)
    again.restore(begun.state())
    for learning, rate in ((begun, 0.1), (again, 0.02)):
        step_of(learning, 1)
        group = learning.optimisers[0].param_groups[0]
        assert group["lr"] == pytest.approx(rate * learning.schedule.factor(1))
