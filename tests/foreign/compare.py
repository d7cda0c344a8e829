"""The same engine and the same load behind our service and behind three others, as a table.

`python -m tests.foreign.compare --seconds 60`, on a machine that does nothing else; where others
have work there, `--rounds 3` lets all take turns, and the table has medians. Installs each rival
into an environment of its own. Two loads: closed and uniform (callers that ask again as soon as
they have their picture, all for the same size), where batches of whole requests lose nothing; open
and mixed (Poisson arrivals, sizes and sampling of all kinds), as users come.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import statistics
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx

from service.client.loadtest import Answer, Shot, make_shots, summarise
from tests.foreign.rivals import RIVALS, Address, Engine, body, ourselves

# Images/s under the closed load; jobs/s, p50 s and p95 s under the open one; how many failed.
_Figures = tuple[float, float, float, float, int]
_Server = Callable[[Path, Engine], AbstractContextManager[Address]]

_TIMEOUT_S = 600.0
_OURS = "minDALL-E Serve"
_HEAD = (
    "| | closed, uniform: images/s | open, mixed: jobs/s | p50 s | p95 s | failed |\n"
    "|---|---|---|---|---|---|"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    args = _parsed(arguments)
    servers = {_OURS: ourselves} | {rival.name: rival.at_work for rival in RIVALS}
    names = args.only or list(servers)
    rounds: dict[str, list[_Figures]] = {name: [] for name in names}
    for number in range(args.rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            rounds[name].append(_measured(servers[name], args))
            print(f"round {number + 1}: {_line(name, rounds[name][-1:])}", file=sys.stderr)
    print("\n".join([_HEAD, *(_line(name, figures) for name, figures in rounds.items())]))
    return 0


def _measured(server: _Server, args: Namespace) -> _Figures:
    """Both loads on a server that is started for them."""
    engine = Engine(args.model, args.rows, args.threads)
    with tempfile.TemporaryDirectory() as folder, server(Path(folder), engine) as there:
        closed = asyncio.run(_closed(there, args))
        opened = asyncio.run(_opened(there, args))
    took = opened["end_to_end_s"] or {"p50": math.nan, "p95": math.nan}
    failed = sum(load["num_sent"] - load["num_ok"] for load in (closed, opened))
    figures = closed["images_per_s"], opened["goodput_jobs_per_s"], took["p50"], took["p95"]
    return *figures, failed


def _parsed(arguments: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(prog="python -m tests.foreign.compare", description=__doc__)
    parser.add_argument("--model", default="emoji", help="preset (default: emoji)")
    parser.add_argument("--rows", type=int, default=32, help="of the batch (default: 32)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: 2)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load (default: 60)")
    parser.add_argument("--rounds", type=int, default=1, help="of all in turn (default: 1)")
    parser.add_argument("--callers", type=int, default=8, help="of the closed load (default: 8)")
    parser.add_argument("--size", type=int, default=4, help="candidates of theirs (default: 4)")
    parser.add_argument("--rate", type=float, default=2.2, help="jobs/s if open (default: 2.2)")
    parser.add_argument("--seed", type=int, default=1, help="of all chance (default: 1)")
    names = [_OURS, *(rival.name for rival in RIVALS)]
    parser.add_argument("--only", action="append", choices=names, help="one of them; repeatable")
    return parser.parse_args(arguments)


async def _closed(there: Address, args: Namespace) -> dict[str, Any]:
    """All callers' jobs that ended, and how."""
    began, seeds = time.monotonic(), itertools.count()
    answers: list[Answer] = []

    async def call() -> None:
        while (at_s := time.monotonic() - began) < args.seconds:
            shot = Shot(at_s, "a cat", {"num_candidates": args.size, "seed": next(seeds)})
            answers.append(await _fire(http, there, shot, began))

    async with _client() as http, asyncio.TaskGroup() as group:
        for _ in range(args.callers):
            group.create_task(call())
    return summarise(answers)


async def _opened(there: Address, args: Namespace) -> dict[str, Any]:
    """As `mindalle loadtest` sends them."""
    mixed = Namespace(
        rate=args.rate,
        duration=args.seconds,
        deadline=_TIMEOUT_S,
        num_candidates=(1, 4, 16),
        seed=args.seed,
        model=None,
        same_parameters=False,
    )
    began = time.monotonic()
    async with _client() as http, asyncio.TaskGroup() as group:
        tasks = [group.create_task(_fire(http, there, shot, began)) for shot in make_shots(mixed)]
    return summarise([task.result() for task in tasks])


def _client() -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(timeout=_TIMEOUT_S, limits=limits, trust_env=False)


async def _fire(http: httpx.AsyncClient, there: Address, shot: Shot, began: float) -> Answer:
    await asyncio.sleep(max(0.0, began + shot.at_s - time.monotonic()))
    sent = time.monotonic()
    given = {k: v for k, v in shot.parameters.items() if k in ("temperature", "top_k", "top_p")}
    asked = body(shot.prompt, shot.parameters["seed"] % 2**31, shot.parameters["num_candidates"])
    try:
        answer = await http.post(there.url, json=asked | given)
        code = "ok" if answer.is_success and there.picture(answer) else str(answer.status_code)
    except httpx.HTTPError as error:
        code = type(error).__name__
    now = time.monotonic()
    return Answer(shot, code, now - sent, now - began, sent - began - shot.at_s)


def _line(name: str, rounds: Sequence[_Figures]) -> str:
    """Medians of the rounds; all that failed in any."""
    *figures, failed = zip(*rounds, strict=True)
    medians = " | ".join(f"{statistics.median(values):.1f}" for values in figures)
    return f"| {name} | {medians} | {sum(failed)} |"


if __name__ == "__main__":
    raise SystemExit(main())
