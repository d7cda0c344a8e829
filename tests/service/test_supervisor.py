from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import StartRefused
from service.local import welcome
from service.local.child import Child, Program
from service.local.embedded_valkey import prepare
from service.local.supervisor import Plan, Supervisor, plan
from service.outlet import Outlet
from service.settings import Settings
from tests.service.embedded import embedded

WAIT_S = 30.0


def program(name: str, code: str, **changes: object) -> Program:
    """A child that runs some Python."""
    return Program(name, (sys.executable, "-c", code), dict(os.environ), **changes)  # type: ignore[arg-type]  # its fields


def settings(tmp_path: Path, **changes: object) -> Settings:
    values: dict[str, object] = {"model": "tiny", "data_dir": tmp_path, "api": {"port": 0}}
    return Settings.model_validate(values | changes)


class Run:
    """A supervisor at work on some programs, and what it said."""

    def __init__(self, tmp_path: Path, *programs: Program) -> None:
        self.said: list[str] = []
        made = Plan(programs, "http://127.0.0.1:9", None)
        self.supervisor = Supervisor(settings(tmp_path), made, self.said.append)

    async def end(self) -> int:
        async with asyncio.timeout(WAIT_S):
            return await self.supervisor.run()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not is_so():
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("hangups")
@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGHUP, signal.SIGHUP]])
async def test_a_signal_ends_all_children_in_order(
    numbers: list[signal.Signals], tmp_path: Path
) -> None:
    """One terminal that is closed may send SIGHUP twice."""
    log = tmp_path / "log"
    code = f"""
import signal, sys, time
def end(*_):
    with open({str(log)!r}, "a") as file:
        file.write("NAME ended\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
with open({str(log)!r}, "a") as file:
    file.write("NAME began\\n")
while True:
    time.sleep(0.01)
"""
    names = ("worker", "valkey", "api")
    run = Run(tmp_path, *(program(name, code.replace("NAME", name)) for name in names))
    running = asyncio.create_task(run.end())
    await until(lambda: log.exists() and log.read_text().count("began") == 3)
    for number in numbers:
        os.kill(os.getpid(), number)
    assert await running == 0
    ended = [line.split()[0] for line in log.read_text().splitlines() if line.endswith("ended")]
    assert ended == ["api", "worker", "valkey"]


async def test_a_signal_is_obeyed_though_nothing_can_be_said(tmp_path: Path) -> None:
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if "Stopping" in text:
            raise BrokenPipeError

    made = Plan((program("api", "import time; time.sleep(60)"),), "http://127.0.0.1:9", None)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: said.append("failed"))
    async with asyncio.timeout(WAIT_S):
        running = asyncio.create_task(Supervisor(settings(tmp_path), made, say).run())
        await until(lambda: bool(said))
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running == 0
    assert "failed" in said


async def test_the_lines_of_a_child_are_read_though_nobody_reads_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stderr", Outlet(writer))
    child = Child(program("api", "for _ in range(10_000): print('x' * 99)"))
    await child.start()
    async with asyncio.timeout(WAIT_S):
        assert await child.wait() == 0
    os.close(writer)


async def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = f"""
import os, time
with open({str(log)!r}, "a") as file:
    file.write("began\\n")
    file.flush()
    if os.path.getsize({str(log)!r}) < 15:
        os._exit(9)
time.sleep(60)
"""
    run = Run(tmp_path, program("worker", code))
    running = asyncio.create_task(run.end())
    await until(lambda: log.exists() and log.read_text().count("began") == 3)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0


async def test_a_child_that_keeps_dying_ends_the_whole_with_its_last_line(tmp_path: Path) -> None:
    run = Run(
        tmp_path,
        program("valkey", "import time; time.sleep(60)"),
        program("worker", "raise SystemExit('no such weights')"),
    )
    assert await run.end() == 1
    assert "worker ended with status 1" in run.said[-1]
    assert "no such weights" in run.said[-1]


async def test_a_child_that_can_not_start_as_configured_is_not_tried_again(
    tmp_path: Path,
) -> None:
    code = "import sys; print('mindalle api: MINDALLE_X: wrong', file=sys.stderr); sys.exit(2)"
    run = Run(tmp_path, program("api", code))
    with pytest.raises(StartRefused, match=r"^MINDALLE_X: wrong$"):
        await run.end()


async def test_a_program_that_is_not_there_ends_the_whole(tmp_path: Path) -> None:
    run = Run(tmp_path, Program("valkey", (str(tmp_path / "nothing"),), {}))
    assert await run.end() == 1
    assert "can't be started" in run.said[-1]


async def test_a_child_that_does_not_end_is_killed() -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('up', flush=True); time.sleep(60)"
    )
    child = Child(program("worker", code))
    await child.start()
    await until(lambda: list(child.last_lines) == ["up"])
    await child.end(0.1)
    assert await child.wait() == -signal.SIGKILL


async def test_the_embedded_valkey_keeps_what_was_written(tmp_path: Path) -> None:
    for round_number in range(2):
        async with embedded(tmp_path) as redis:
            assert await redis.incr("rounds") == round_number + 1
            policy = await redis.config_get("maxmemory-policy")
            assert policy["maxmemory-policy"] == "noeviction"
            with pytest.raises(StartRefused, match="in use"):
                prepare(tmp_path)


def test_a_plan_starts_the_store_first_and_tells_it_to_the_rest(tmp_path: Path) -> None:
    made = plan(settings(tmp_path))
    assert made.valkey is not None
    try:
        assert [one.name for one in made.programs] == ["valkey", "api", "worker"]
        for child in made.programs[1:]:
            assert child.environment["MINDALLE_REDIS__URL"] == made.valkey.url
            assert made.url.endswith(":" + child.environment["MINDALLE_API__PORT"])
        assert made.valkey.password not in " ".join(made.valkey.command)
    finally:
        made.valkey.lock.close()


ELSEWHERE = {"url": "redis://elsewhere:6379/0"}


@pytest.mark.parametrize(
    ("changes", "models", "told"),
    [
        ({}, ("emoji", "wide"), "emoji,wide"),
        ({"model": "tiny"}, ("tiny",), None),
        ({"worker": {"checkpoint": "/weights"}}, ("emoji",), None),
        ({"worker": {"models": "tiny,wide=/w"}}, ("tiny", "wide"), None),
        ({"model": "wide", "worker": {"models": "tiny,wide=/w"}}, ("wide", "tiny"), None),
    ],
)
def test_all_shipped_models_are_served_unless_some_are_chosen(
    changes: dict[str, object], models: tuple[str, ...], told: str | None
) -> None:
    loaded = Settings.model_validate({"redis": ELSEWHERE, "api": {"port": 0}, **changes})
    made = plan(loaded, shipped=("wide", "emoji"))
    assert made.models == models
    for program in made.programs:
        assert program.environment.get("MINDALLE_WORKER__MODELS") == told
        assert program.environment.get("MINDALLE_MODEL") == (models[0] if models[1:] else None)
    assert ", ".join(models) in welcome.ready(loaded, made.url, made.models)


def test_the_small_model_stays_the_default_beside_the_larger_one() -> None:
    loaded = Settings.model_validate({"redis": ELSEWHERE, "api": {"port": 0}})
    assert plan(loaded).models == ("emoji", "emoji-hq")
    assert loaded.worker.preload == "default"  # the larger one is loaded by its first job


def test_a_default_model_that_the_worker_does_not_serve_is_refused() -> None:
    values = {"model": "tiny", "worker": {"models": "tiny-rq,tiny-hq"}, "redis": ELSEWHERE}
    with pytest.raises(StartRefused, match="tiny is not among MINDALLE_WORKER__MODELS"):
        plan(Settings.model_validate(values))


def test_a_given_redis_is_used_instead(tmp_path: Path) -> None:
    made = plan(settings(tmp_path, redis={"url": "redis://elsewhere:6379/0"}))
    assert made.valkey is None
    assert [one.name for one in made.programs] == ["api", "worker"]


def test_a_taken_port_stops_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartRefused, match="MINDALLE_API__PORT"):
            plan(settings(tmp_path, api={"port": port}))


def test_the_first_screen_says_where_and_how(tmp_path: Path) -> None:
    text = welcome.ready(settings(tmp_path), "http://127.0.0.1:8000")
    assert "http://127.0.0.1:8000/" in text
    assert "curl -s http://127.0.0.1:8000/v1/images/generations" in text
    assert "authorization" not in text
    guarded = settings(tmp_path, api_keys="me:secret-word")
    shown = welcome.ready(guarded, "http://127.0.0.1:8000")
    assert "authorization: Bearer" in shown
    assert "secret" not in shown
