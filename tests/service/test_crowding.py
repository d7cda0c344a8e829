"""When a team of threads is held to be displaced by other processes."""

from __future__ import annotations

from service.worker.crowding import Crowding


class _Machine:
    """Time on two cores, of which this process gets a share while it steps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.used = 0.0
        self.crowding = Crowding(clock=lambda: self.now, cpu_clock=lambda: self.used)

    def step(self, seconds: float, *, share: float) -> bool:
        is_crowded = self.crowding.look(2)
        self.now += seconds
        self.used += seconds * (1.0 if is_crowded else 2 * share)
        return is_crowded

    def steps(self, seconds: float, *, share: float) -> float:
        """Steps of 10 ms for so long; the share of them that took a smaller team."""
        count = round(seconds / 0.01)
        return sum(self.step(0.01, share=share) for _ in range(count)) / count


def test_a_team_with_its_cores_stays_whole() -> None:
    assert _Machine().steps(60, share=0.95) == 0


def test_a_displaced_team_is_made_smaller_and_tried_again_ever_more_seldom() -> None:
    machine = _Machine()
    assert 0.8 < machine.steps(10, share=0.4) < 0.95
    assert machine.steps(120, share=0.4) > 0.98


def test_the_whole_team_is_back_when_its_cores_are() -> None:
    machine = _Machine()
    machine.steps(20, share=0.4)
    machine.steps(40, share=0.95)
    assert machine.steps(60, share=0.95) == 0
    machine.steps(1, share=0.4)
    assert machine.steps(2, share=0.95) > 0.5  # it is wary for the first pause only
    assert machine.steps(60, share=0.95) == 0


def test_time_without_steps_does_not_count() -> None:
    machine = _Machine()
    for _ in range(20):
        assert machine.steps(0.2, share=0.95) == 0
        machine.crowding.rest()
        machine.now += 5.0
