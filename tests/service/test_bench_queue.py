from __future__ import annotations

import json

import pytest

from service import cli
from service.commands import shells


def test_every_request_is_answered_and_what_it_cost_is_told(
    capfd: pytest.CaptureFixture[str],
) -> None:
    sizes = ["--jobs=24", "--callers=6", "--workers=1", "--bytes=5000"]
    assert cli.main(["bench", "queue", *sizes]) == 0
    report = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert report["num_ok"] == 24
    assert report["cpu_ms_per_job"].keys() == {"redis", "api", "workers", "callers"}
    assert report["cpu_ms_per_job"]["redis"] > 0
    assert report["redis_bytes_per_job"] > 5000
    assert report["redis_jobs_per_s_of_a_core"] > 1


@pytest.mark.parametrize("words", [["--jobs", "0"], ["--bytes", "many"]])
def test_numbers_that_measure_nothing_are_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", "queue", *words]) == 2
    assert "must be a whole number of at least 1" in capsys.readouterr().err


def test_a_command_of_two_words_has_help_and_is_completed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["help", "bench", "queue"])
    assert capsys.readouterr().out.startswith("usage: mindalle bench queue")
    (bench,) = (command for command in shells.commands() if command.name == "bench")
    assert bench.operands == ("queue",)
    assert {"--layers", "--callers"} <= {name for name, _ in bench.flags}
