from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from service import cli
from service.commands import flags
from service.errors import StartRefused
from service.local.supervisor import plan
from service.settings import Settings

SERVE = (*flags.HTTP, *flags.MODEL, *flags.WORKER, *flags.OWN_REDIS)
GIVEN = {
    "--host": "localhost", "--port": "0", "--model": "tiny", "--checkpoint": "some where",
    "--device": "cpu", "--rows": "8", "--redis": "redis://:word@elsewhere:6379/2",
}  # fmt: skip


def parsed(name: str, *words: str) -> Namespace:
    return cli.parser_of(name).parse_args(words)


def load(*words: str) -> Settings:
    return flags.load(parsed("serve", *words), *SERVE)


def test_flags_win_over_variables_and_leave_the_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINDALLE_API__PORT", "9")
    monkeypatch.setenv("MINDALLE_API__HOST", "::1")
    monkeypatch.setenv("MINDALLE_WORKER__ROWS", "4")
    loaded = load("--port", "8001", "--model", "tiny")
    assert (loaded.api.port, loaded.api.host) == (8001, "::1")
    assert (loaded.model, loaded.worker.rows) == ("tiny", 4)
    assert load("--port", "").api.port == 9  # as an empty variable, it is none


def test_every_flag_reaches_its_setting_and_the_children() -> None:
    words = [word for pair in GIVEN.items() for word in pair]
    loaded = load(*words)
    assert (loaded.api.host, loaded.api.port, loaded.model) == ("localhost", 0, "tiny")
    assert loaded.worker.checkpoint == Path("some where")
    assert (loaded.worker.device, loaded.worker.rows) == ("cpu", 8)
    assert loaded.redis.url.get_secret_value() == GIVEN["--redis"]
    made = plan(loaded, flags.variables(parsed("serve", *words), *SERVE))
    assert [program.name for program in made.programs] == [
        "api",
        "worker",
    ]  # not a store of its own
    for program in made.programs:
        assert program.environment["MINDALLE_REDIS__URL"] == GIVEN["--redis"]
        assert program.environment["MINDALLE_WORKER__CHECKPOINT"] == "some where"
        assert program.environment["MINDALLE_API__PORT"] == made.url.rpartition(":")[2]


@pytest.mark.parametrize("command", ["api", "worker", "serve"])
def test_a_wrong_flag_is_named_as_it_was_typed(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, "--port", "many"]) == 2
    assert capsys.readouterr().err.startswith(f"mindalle {command}: --port: ")


def test_a_wrong_variable_keeps_its_name_beside_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDALLE_WORKER__ROWS", "0")
    with pytest.raises(StartRefused, match=r"^MINDALLE_WORKER__ROWS: "):
        load("--port", "8001")


def test_a_flag_that_a_command_does_not_take_is_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["api", "--rows", "8"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "mindalle api: unrecognized arguments: --rows 8; see mindalle api --help"


def test_a_workers_address_is_that_of_its_metrics() -> None:
    args = parsed("worker", "--host", "0.0.0.0", "--port", "9102")
    loaded = flags.load(args, *flags.METRICS)
    assert (loaded.worker.metrics_host, loaded.worker.metrics_port) == ("0.0.0.0", 9102)
