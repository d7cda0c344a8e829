"""`mindalle loadtest`: requests by HTTP at a given rate, whether or not answers keep up.

Open loop: arrivals follow a Poisson process and never wait for the server, so an overload shows as
one. The last line of the report is JSON. Knows only the HTTP API.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import httpx

from models.flags import positive
from service.answers.model_answers import Health
from service.cli import CommandError
from service.client.address import connect
from service.client.async_client import LOCAL, AsyncClient
from service.client.problems import problem
from service.client.protocol import ApiError, Parameters, headers_of, understood
from service.jobs import MAX_CANDIDATES

_WORDS = ["red", "green", "blue", "golden", "tiny", "huge", "happy", "sleepy"]
_THINGS = ["heart", "apple", "owl", "star", "cat", "house", "boat", "tree"]


@dataclass(frozen=True, slots=True)
class Shot:
    """One request: when it is sent, counted from the start, and what it says."""

    at_s: float
    prompt: str
    parameters: Parameters


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request. `code` is the error's, or `ok`; `late_s`: sent after its time.

    `queue_wait_s` is from accepted to claimed, by the server's clock.
    """

    shot: Shot
    code: str
    seconds: float
    ended_at_s: float
    late_s: float
    queue_wait_s: float | None = None


def add_arguments(parser: ArgumentParser) -> None:
    """Against what, how many, how fast, and which mixture."""
    parser.add_argument("--url", default=LOCAL, help=f"of the service (default: {LOCAL})")
    parser.add_argument("--api-key", metavar="KEY", help="sent with each request (default: none)")
    for name, default, about in (
        ("--rate", 2.0, "requests per second"),
        ("--duration", 20.0, "seconds of arrivals"),
        ("--deadline", 120.0, "seconds per request"),
    ):
        parser.add_argument(
            name,
            type=positive,
            default=default,
            metavar="N",
            help=f"{about} (default: {default:g})",
        )
    parser.add_argument(
        "--num-candidates",
        type=_sizes,
        default=(1, 4, 16),
        metavar="N,N",
        help="mixture of sizes (default: 1,4,16)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="of arrivals and parameters (default: 1)"
    )
    parser.add_argument("--model", metavar="PRESET", help="to draw with (default: the server's)")
    parser.add_argument("--same-parameters", action="store_true", help="the model's defaults only")


def _sizes(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and 1 <= int(part) <= MAX_CANDIDATES for part in parts):
        raise ArgumentTypeError(f"must be numbers in 1..{MAX_CANDIDATES}, with commas between them")
    return tuple(int(part) for part in parts)


def run(args: Namespace) -> int:
    """Fire, wait for the answers, print the report; 1 when nothing succeeded."""
    asyncio.run(_check_ready(args.url, args.api_key))
    shots = list(make_shots(args))
    report = asyncio.run(_run(args, shots))
    print_report(report)
    return 0 if report["num_ok"] else 1


def make_shots(args: Namespace) -> Iterator[Shot]:
    """Arrivals and bodies; the same for the same seed."""
    chance = random.Random(args.seed)
    at_s = 0.0
    while (at_s := at_s + chance.expovariate(args.rate)) < args.duration:
        prompt = f"a {chance.choice(_WORDS)} {chance.choice(_THINGS)}"
        parameters: Parameters = {
            "num_candidates": chance.choice(args.num_candidates),
            "seed": chance.randrange(2**32),
            "deadline_s": args.deadline,
        }
        if args.model:
            parameters["model"] = args.model
        if not args.same_parameters:
            parameters["temperature"] = chance.choice([0.7, 1.0, 1.3])
            parameters["top_k"] = chance.choice([8, 16, 32])
            parameters["top_p"] = chance.choice([0.8, 0.95, 1.0])
        yield Shot(at_s, prompt, parameters)


async def _check_ready(url: str, api_key: str | None) -> None:
    """CommandError unless a service that takes jobs is there, and a key can be sent to it."""
    try:
        async with connect(url, headers=headers_of(api_key)) as http:
            answer = await http.get("/readyz")
        health = understood(answer, lambda it: Health.model_validate_json(it.content))
    except (ApiError, httpx.HTTPError, ValueError) as error:
        raise problem(error, url) from None
    if not answer.is_success:
        raise CommandError(f"{url} is not ready: {health.reason}")


async def _run(args: Namespace, shots: Sequence[Shot]) -> dict[str, object]:
    timeout_s = args.deadline + 30
    async with AsyncClient(args.url, args.api_key, max_retries=0, timeout_s=timeout_s) as client:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_fire(client, shot, began)) for shot in shots]
    return summarise([task.result() for task in tasks])


async def _fire(client: AsyncClient, shot: Shot, began: float) -> Answer:
    await asyncio.sleep(max(0.0, began + shot.at_s - time.monotonic()))
    sent, waited_s = time.monotonic(), None
    try:
        made = await client.generate(shot.prompt, **shot.parameters)
        code, waited_s = "ok", made.timings_s.get("queue_wait")
    except ApiError as error:
        code = f"{error.status} {error.code}" if error.code else str(error.status)
    except httpx.HTTPError as error:
        code = type(error).__name__
    now = time.monotonic()
    return Answer(shot, code, now - sent, now - began, sent - began - shot.at_s, waited_s)


def summarise(answers: Sequence[Answer]) -> dict[str, object]:
    """The numbers of the report. Rates are over the time from the start to the last answer."""
    good = [answer for answer in answers if answer.code == "ok"]
    elapsed = max((answer.ended_at_s for answer in answers), default=0.0)
    refused = [answer for answer in answers if answer.code.startswith("429")]
    waits = [answer.queue_wait_s for answer in good if answer.queue_wait_s is not None]

    def per_s(count: float) -> float:
        return round(count / elapsed, 3) if elapsed else 0.0

    return {
        "num_sent": len(answers),
        "num_ok": len(good),
        "codes": dict(sorted(Counter(answer.code for answer in answers).items())),
        "elapsed_s": round(elapsed, 3),
        "goodput_jobs_per_s": per_s(len(good)),
        "images_per_s": per_s(sum(answer.shot.parameters["num_candidates"] for answer in good)),
        "end_to_end_s": percentiles([answer.seconds for answer in good]),
        "queue_wait_s": percentiles(waits),
        "refusal_s": percentiles([answer.seconds for answer in refused]),
        "sent_late_s": percentiles([answer.late_s for answer in answers]),
    }


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """p50, p95 and p99 by the nearest rank; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return {
        f"p{part}": round(ordered[math.ceil(part / 100 * len(ordered)) - 1], 4)
        for part in (50, 95, 99)
    }


def print_report(report: dict[str, object]) -> None:
    """For people, then one line for programs."""
    for name, value in report.items():
        shown = value
        if isinstance(value, dict):
            shown = "  ".join(f"{key} {number}" for key, number in value.items())
        print(f"{name:<20} {'-' if shown is None else shown}")
    print(json.dumps(report))
