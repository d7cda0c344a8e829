from __future__ import annotations

from service.worker.drawing.turns import Turns


def had(turns: Turns[str], seconds: dict[str, float], rounds: int) -> dict[str, float]:
    """What each had of the time, when all asked at each of so many turns."""
    times = dict.fromkeys(seconds, 0.0)
    for _ in range(rounds):
        who = turns.next([*seconds])
        turns.charge(who, seconds[who])
        times[who] += seconds[who]
    return times


def jain(*shares: float) -> float:
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def test_each_has_the_same_time_however_long_its_steps_are() -> None:
    times = had(Turns(), {"large": 7.0, "small": 0.3}, 1000)
    assert jain(*times.values()) > 0.999


def test_who_comes_back_has_saved_nothing_up() -> None:
    turns: Turns[str] = Turns()
    had(turns, {"a": 1.0, "b": 1.0}, 10)
    had(turns, {"a": 1.0}, 100)
    assert had(turns, {"a": 1.0, "b": 1.0}, 20) == {"a": 10.0, "b": 10.0}


def test_who_comes_new_waits_for_nobody_and_owes_nothing() -> None:
    turns: Turns[str] = Turns()
    had(turns, {"a": 1.0, "b": 1.0}, 100)
    times = had(turns, {"a": 1.0, "b": 1.0, "c": 1.0}, 30)
    assert max(times.values()) - min(times.values()) <= 1.0


def test_who_is_forgotten_begins_anew() -> None:
    turns: Turns[str] = Turns()
    had(turns, {"a": 1.0, "b": 5.0}, 11)
    turns.forget("b")
    times = had(turns, {"a": 1.0, "b": 1.0}, 10)
    assert abs(times["a"] - times["b"]) <= 2.0
