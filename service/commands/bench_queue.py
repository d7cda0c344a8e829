"""`mindalle bench queue`: what a job costs the API and Redis, with workers that draw nothing.

On this machine, with a Valkey of its own: callers send requests over HTTP and wait for the
pictures, so many at a time. Beside the rate, which ends where this machine does, it tells the
processor time that each process spent for a job; from that follows what one Redis on a core of its
own can carry. Reads /proc, so Linux.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
from redis.asyncio import Redis

from models.flags import count
from service.cli import CommandError
from service.client.async_client import AsyncClient
from service.client.loadtest import percentiles, print_report
from service.client.protocol import ApiError
from service.local import ports
from service.local.child import Child, Program, describe, python
from service.local.embedded_valkey import prepare
from service.local.supervisor import program_of
from service.settings import environment_with

_MODEL = "tiny"
_IDLE_S = 3.0
_SHARE = 0.7  # of a core that a Redis may be given work for: above, waits grow
_START_S = 60.0
_TICKS_S = os.sysconf("SC_CLK_TCK")
_NO_LIMITS = {
    "MINDALLE_MODEL": _MODEL,
    "MINDALLE_LOG_LEVEL": "warning",
    "MINDALLE_QUEUE__KEY_RATE_PER_S": "100000",
    "MINDALLE_QUEUE__KEY_BURST": "1000000",
}


def add_arguments(parser: ArgumentParser) -> None:
    """How much of what."""
    for name, default, about in (
        ("--jobs", 2000, "requests in all, of one candidate each"),
        ("--callers", 32, "that wait for their answer at a time"),
        ("--workers", 2, "processes that draw nothing"),
        ("--bytes", 8000, "of each picture"),
    ):
        parser.add_argument(
            name,
            type=count,
            default=default,
            metavar="N",
            help=f"{about} (default: {default})",
        )


def run(args: Namespace) -> int:
    """Measure and print; 1 when a request failed."""
    if not Path("/proc/self/stat").exists():
        raise CommandError("processor times are read from /proc, which is not here")
    report = asyncio.run(_measured(args))
    print_report(report)
    return 0 if report["num_ok"] == args.jobs else 1


async def _measured(args: Namespace) -> dict[str, object]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        valkey = prepare(Path(folder))
        stack.callback(valkey.lock.close)
        port = ports.probe("127.0.0.1", 0)
        changes = {"MINDALLE_REDIS__URL": valkey.url, "MINDALLE_API__PORT": str(port)}
        environment = environment_with(_NO_LIMITS | changes)
        children = [Child(program_of(valkey)), Child(Program("api", python("api"), environment))]
        children += [Child(program) for program in _workers(args, environment)]
        for child in children:
            await stack.enter_async_context(_running(child))
        redis = await stack.enter_async_context(Redis.from_url(valkey.url))
        client = await stack.enter_async_context(
            AsyncClient(f"http://127.0.0.1:{port}", max_retries=0, timeout_s=120)
        )
        await _until_ready(client, args.workers, children)
        return await _report(args, client, redis, children)


def _workers(args: Namespace, environment: Mapping[str, str]) -> list[Program]:
    module = (sys.executable, "-m", "service.commands.blank_worker")
    names = [f"blank-{number}" for number in range(args.workers)]
    return [Program(name, (*module, name, str(args.bytes)), environment) for name in names]


@asynccontextmanager
async def _running(child: Child) -> AsyncIterator[None]:
    await child.start()
    try:
        yield
    finally:
        await child.end(10.0)


async def _until_ready(client: AsyncClient, num_workers: int, children: Sequence[Child]) -> None:
    give_up = time.monotonic() + _START_S
    while time.monotonic() < give_up:
        with suppress(ApiError, httpx.TransportError):
            if sum(model.num_workers for model in await client.models()) == num_workers:
                return
        await asyncio.sleep(0.1)
    said = "\n".join(describe(child.last_lines) for child in children)
    raise CommandError(f"API and workers are not ready after {_START_S:g} s:\n{said}")


async def _report(
    args: Namespace, client: AsyncClient, redis: Redis, children: Sequence[Child]
) -> dict[str, object]:
    at_first = await _spent_s(redis, children)
    await asyncio.sleep(_IDLE_S)
    before, bytes_before = await _spent_s(redis, children), await _used_bytes(redis)
    began = time.monotonic()
    seconds = await _send_all(args, client)
    elapsed_s = time.monotonic() - began
    after, num_ok = await _spent_s(redis, children), len(seconds)
    per_job = {name: (after[name] - before[name]) / max(num_ok, 1) for name in after}
    idle_s = (before["redis"] - at_first["redis"]) / _IDLE_S / args.workers
    return {
        "num_ok": num_ok,
        "elapsed_s": round(elapsed_s, 3),
        "jobs_per_s": round(num_ok / elapsed_s, 1),
        "end_to_end_s": percentiles(seconds),
        "cpu_ms_per_job": {name: round(s * 1000, 3) for name, s in per_job.items()},
        "redis_cpu_ms_per_idle_worker_s": round(idle_s * 1000, 3),
        "redis_bytes_per_job": round((await _used_bytes(redis) - bytes_before) / max(num_ok, 1)),
        "redis_jobs_per_s_of_a_core": round(_SHARE / per_job["redis"]) if num_ok else None,
    }


async def _send_all(args: Namespace, client: AsyncClient) -> list[float]:
    """The seconds that each answered request took."""
    seeds, seconds = iter(range(args.jobs)), []

    async def call() -> None:
        for seed in seeds:
            began = time.monotonic()
            with suppress(ApiError, httpx.TransportError):
                await client.generate("a red heart", seed=seed, num_candidates=1)
                seconds.append(time.monotonic() - began)

    await asyncio.gather(*(call() for _ in range(args.callers)))
    return seconds


async def _spent_s(redis: Redis, children: Sequence[Child]) -> dict[str, float]:
    """Processor time of each process so far; all workers' as one."""
    api, workers = (
        sum(_process_s(child.pid) for child in children if child.program.name.startswith(name))
        for name in ("api", "blank")
    )
    cpu = await redis.info("cpu")
    of_redis = float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])
    return {"redis": of_redis, "api": api, "workers": workers, "callers": time.process_time()}


def _process_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


async def _used_bytes(redis: Redis) -> int:
    memory = await redis.info("memory")
    return int(memory["used_memory"])
