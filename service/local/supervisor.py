"""`mindalle serve`: an embedded Valkey, the API and one worker, watched over as one.

A child that dies is started again. One that dies too often, or can't start as configured, ends
the whole with its last lines. A first signal ends all in good order, a second one at once.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

import httpx

from models.presets.register import shipped_presets
from service.broker.stopping import end_signals, hurries, stop
from service.errors import StartRefused
from service.local import ports, welcome
from service.local.child import Child, Program, complaint, describe, python
from service.local.embedded_valkey import EmbeddedValkey, prepare
from service.settings import Settings, environment_with

_MAX_DEATHS = 5  # within the window; then there is no point in going on
_WINDOW_S = 120.0
_LONGEST_PAUSE_S = 10.0
_END_S = 10.0  # beyond a child's own grace time
_LOOK_S = 0.2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """The children in the order of their start, and where they will be found."""

    programs: tuple[Program, ...]
    url: str
    valkey: EmbeddedValkey | None
    models: tuple[str, ...] = ()


def plan(
    settings: Settings,
    flags: Mapping[str, str] = MappingProxyType({}),
    shipped: Sequence[str] | None = None,
) -> Plan:
    """What to start for these settings; `flags` are those that came from the command line.

    Where no model is chosen, all that are shipped are served, by default as this package has them.

    Raises:
        StartRefused: a port is taken, the data folder is in use, Valkey is not installed, or the
            default model is not among the worker's.
    """
    models = _models(settings, shipped_presets() if shipped is None else shipped)
    port = ports.claim("MINDALLE_API__", settings.api.host, settings.api.port)
    changes = {**flags, "MINDALLE_API__PORT": str(port)}
    if len(models) > 1:
        changes["MINDALLE_MODEL"] = models[0]
        if not settings.worker.models:
            changes["MINDALLE_WORKER__MODELS"] = ",".join(models)
    if "log_format" not in settings.model_fields_set:
        changes["MINDALLE_LOG_FORMAT"] = "text"
    programs = []
    valkey = None
    if "url" not in settings.redis.model_fields_set:
        valkey = prepare(settings.data_dir)
        changes["MINDALLE_REDIS__URL"] = valkey.url
        programs.append(program_of(valkey))
    environment = environment_with(changes)
    programs += [Program(name, python(name), environment) for name in ("api", "worker")]
    return Plan(tuple(programs), ports.url_of(settings.api.host, port), valkey, models)


def _models(settings: Settings, shipped: Sequence[str]) -> tuple[str, ...]:
    """What is served, the default model first."""
    is_chosen = "model" in settings.model_fields_set
    if not (settings.worker.models or settings.worker.checkpoint or is_chosen):
        return tuple(sorted(shipped, key=lambda name: name != settings.model))
    names = list(settings.hosted)
    if is_chosen and settings.model not in names:
        raise StartRefused(
            f"MINDALLE_MODEL: {settings.model} is not among MINDALLE_WORKER__MODELS, which are "
            f"{', '.join(names)}"
        )
    return tuple(sorted(names, key=lambda name: name != settings.first_hosted))


def program_of(valkey: EmbeddedValkey) -> Program:
    """Valkey as a child."""
    return Program(
        "valkey",
        valkey.command,
        environment_with({}),
        stdin=valkey.configuration,
        pass_fds=(valkey.lock.fileno(),),
        never_again=frozenset(),
        logs_as_we_do=False,
    )


class Supervisor:
    """Runs a plan to its end. `say` prints for the person at the terminal."""

    def __init__(self, settings: Settings, plan: Plan, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._plan = plan
        self._say = say
        self._children = {program.name: Child(program) for program in plan.programs}
        self._num_signals = 0
        self._ending = asyncio.Event()
        self._failure: str | None = None
        self._refusal: str | None = None

    async def run(self) -> int:
        """Until a signal (0) or until a child can't be kept alive (1).

        Raises:
            StartRefused: a child can't start as configured, in its own words.
        """
        loop = asyncio.get_running_loop()
        for number in end_signals():
            loop.add_signal_handler(number, self._on_signal, number)
        self._say(welcome.starting(self._plan.models or (self._settings.model,)))
        watching = [asyncio.create_task(self._keep(child)) for child in self._children.values()]
        greeting = asyncio.create_task(self._greet())
        await self._ending.wait()
        await stop(*watching, greeting)
        await self._end_all()
        if self._refusal is not None:
            raise StartRefused(self._refusal)
        if self._failure is not None:
            self._say(self._failure)
            return 1
        self._say("Stopped.")
        return 0

    def _on_signal(self, number: signal.Signals) -> None:
        self._num_signals += 1
        if self._num_signals == 1:
            self._ending.set()  # before anything else: nothing may come between a signal and this
            self._say("\nStopping: what runs is finished first; Ctrl-C again stops at once.")
        elif hurries(number):
            for child in self._children.values():
                is_store = child.program.name == "valkey"
                child.send(signal.SIGTERM if is_store else signal.SIGKILL)

    async def _keep(self, child: Child) -> None:
        """Start it, and again when it dies, with growing pauses."""
        deaths: list[float] = []
        while True:
            try:
                await child.start()
            except OSError as error:
                self._give_up(child, f"can't be started: {error.strerror}")
                return
            status = await child.wait()
            now = time.monotonic()
            deaths = [death for death in deaths if now - death < _WINDOW_S] + [now]
            _log.error("a child died", extra={"child": child.program.name, "status": status})
            if status in child.program.never_again:
                self._refusal = complaint(child.last_lines, child.program.name)
            if status in child.program.never_again or len(deaths) >= _MAX_DEATHS:
                self._give_up(child, f"ended with status {status}")
                return
            await asyncio.sleep(min(_LONGEST_PAUSE_S, 0.25 * 2 ** len(deaths)))

    def _give_up(self, child: Child, what: str) -> None:
        self._failure = f"mindalle serve: {child.program.name} {what}\n{describe(child.last_lines)}"
        self._ending.set()

    async def _greet(self) -> None:
        """Print the first screen once pictures can be had."""
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
            while not await _is_ready(client, self._plan.url):
                await asyncio.sleep(_LOOK_S)
        self._say(welcome.ready(self._settings, self._plan.url, self._plan.models))

    async def _end_all(self) -> None:
        """The API first, so that who waits is answered; Valkey last, so that nothing is lost."""
        settings = self._settings
        graces = {"api": settings.api.drain_grace_s, "worker": settings.worker.drain_grace_s}
        if self._failure is not None:
            graces = {}
        for name in ("api", "worker", "valkey"):
            child = self._children.get(name)
            if child is not None:
                await child.end(graces.get(name, 0) + _END_S)


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    with suppress(httpx.HTTPError):
        return (await client.get(f"{url}/readyz")).is_success
    return False


def serve(settings: Settings, flags: Mapping[str, str] = MappingProxyType({})) -> int:
    """Run everything; the exit status. `flags`: variables that the children's environment lacks."""
    return asyncio.run(_serve(settings, flags))


async def _serve(settings: Settings, flags: Mapping[str, str]) -> int:
    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    made = plan(settings, flags)
    try:
        return await Supervisor(settings, made, say).run()
    finally:
        if made.valkey is not None:
            made.valkey.lock.close()
