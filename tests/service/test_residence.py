from __future__ import annotations

import pytest

from service.broker.workers import Residence
from service.worker.residence import Stay


def stay() -> tuple[Stay, list[Residence]]:
    told: list[Residence] = []
    return Stay(100, told.append), told


def test_a_model_comes_and_goes_and_each_step_is_told() -> None:
    model, told = stay()
    assert model.held_bytes == 0
    model.enter("loading")
    assert (model.held_bytes, model.takes_jobs) == (100, False)
    model.arrive(now=10.0, num_bytes=120, load_s=4.0)
    assert (model.held_bytes, model.takes_jobs) == (120, True)
    model.leave()
    assert (model.held_bytes, model.takes_jobs) == (120, False)
    model.enter("cold")
    assert told == ["loading", "ready", "unloading", "cold"]


@pytest.mark.parametrize("state", ["ready", "unloading", "cold"])
def test_no_state_is_passed_over(state: Residence) -> None:
    model, told = stay()
    with pytest.raises(ValueError, match=f"from cold to {state}"):
        model.enter(state)
    assert told == []


def test_it_stays_as_long_as_its_loading_is_worth_unless_nobody_wants_it() -> None:
    model, _ = stay()
    model.enter("loading")
    model.arrive(now=10.0, num_bytes=100, load_s=4.0)
    model.used_at = 16.5
    assert not model.may_go(17.0)
    assert model.may_go(17.5)  # a second without a job
    model.used_at = 18.0
    assert model.may_go(18.0)  # twice the time of its loading


def test_what_failed_is_let_be_for_longer_if_it_can_not_pass() -> None:
    model, _ = stay()
    model.is_due = True
    model.fail(10.0, is_to_retry=True)
    assert (model.is_due, model.is_refused, model.failed_until) == (False, False, 12.0)
    model.fail(12.0, is_to_retry=False)
    assert (model.is_refused, model.failed_until, model.num_failures) == (True, 42.0, 2)
