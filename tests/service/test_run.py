from __future__ import annotations

import threading

from service.jobs import Expired
from service.worker.run import TakenOut
from tests.service.makers import success
from tests.service.runs import make_run


def test_how_a_run_ends_is_decided_once() -> None:
    run = make_run()
    assert not run.is_gone
    assert run.close(TakenOut("cancelled"))
    assert not run.close(success())
    assert run.end == TakenOut("cancelled")
    assert run.is_gone


def test_of_many_threads_one_decides() -> None:
    run, together = make_run(), threading.Barrier(8)
    won: list[int] = []

    def close(number: int) -> None:
        together.wait()
        if run.close(TakenOut("crashed", str(number))):
            won.append(number)

    threads = [threading.Thread(target=close, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run.end == TakenOut("crashed", str(*won))


def test_whatever_has_its_end_has_only_that_to_be_told() -> None:
    run = make_run()
    phases = [run.phase]
    run.enter("drawing")
    phases.append(run.phase)
    run.close(Expired())
    run.enter("pixels")  # by a station that has not looked yet
    phases.append(run.phase)
    assert phases == ["waiting", "drawing", "commit"]


def test_seconds_of_a_phases_parts_add_up() -> None:
    run = make_run()
    run.stamp("pixels", 1.0, 1.25)
    run.stamp("ranking", 1.25, 1.5)
    run.stamp("pixels", 2.0, 2.0000004)
    assert run.timings_s() == {"queue_wait": 0.5, "pixels": 0.25, "rerank": 0.25}
