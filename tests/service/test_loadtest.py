from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

import pytest
from redis.asyncio import Redis

from service.client import loadtest
from service.client.loadtest import Answer, Shot
from tests.servers import RedisServer
from tests.service.live_api import api_settings, serving
from tests.service.painter import painting


def arguments(*given: str) -> Namespace:
    parser = ArgumentParser()
    loadtest.add_arguments(parser)
    return parser.parse_args(given)


def shot(at_s: float = 0.0, num_candidates: int = 4) -> Shot:
    return Shot(at_s, "a red heart", {"num_candidates": num_candidates})


def test_arrivals_are_the_same_for_a_seed_and_near_the_rate() -> None:
    args = arguments("--rate", "50", "--duration", "40")
    shots = list(loadtest.make_shots(args))
    assert shots == list(loadtest.make_shots(args))
    assert 1800 < len(shots) < 2200
    assert {one.parameters["num_candidates"] for one in shots} == {1, 4, 16}
    times = [one.at_s for one in shots]
    assert times == sorted(times)
    assert times[-1] < 40


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--rate", "0"),
        ("--rate", "nan"),
        ("--rate", "fast"),
        ("--duration", "-1"),
        ("--num-candidates", "0,4"),
        ("--num-candidates", "4,,4"),
        ("--num-candidates", "97"),
    ],
)
def test_wrong_arguments_are_refused(flag: str, value: str) -> None:
    with pytest.raises(SystemExit):
        arguments(f"{flag}={value}")


def test_percentiles_are_values_that_occurred() -> None:
    assert loadtest.percentiles([]) is None
    assert loadtest.percentiles([3.0]) == {"p50": 3.0, "p95": 3.0, "p99": 3.0}
    assert loadtest.percentiles([float(n) for n in range(100, 0, -1)]) == {
        "p50": 50.0,
        "p95": 95.0,
        "p99": 99.0,
    }


def test_the_summary_counts_only_what_succeeded_as_goodput() -> None:
    answers = [
        Answer(shot(num_candidates=16), "ok", 1.0, 2.0, 0.0, 0.5),
        Answer(shot(), "ok", 3.0, 4.0, 0.0),
        Answer(shot(), "429 queue_full", 0.01, 1.0, 0.0),
        Answer(shot(), "ConnectError", 0.0, 1.0, 0.0),
    ]
    report = loadtest.summarise(answers)
    assert report["codes"] == {"429 queue_full": 1, "ConnectError": 1, "ok": 2}
    assert report["goodput_jobs_per_s"] == 0.5
    assert report["queue_wait_s"] == {"p50": 0.5, "p95": 0.5, "p99": 0.5}
    assert report["images_per_s"] == 5.0
    assert report["refusal_s"] == {"p50": 0.01, "p95": 0.01, "p99": 0.01}


async def test_it_fires_at_a_server_and_ends_with_json(
    valkey_server: RedisServer, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(api_settings(valkey_server)) as api, painting(redis):
        args = arguments("--url", api.url, "--rate", "20", "--duration", "1")
        shots = list(loadtest.make_shots(args))
        report = await loadtest._run(args, shots)
    loadtest.print_report(report)
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["num_sent"] == printed["num_ok"] == len(shots) > 0
    assert printed["queue_wait_s"]["p50"] >= 0
    assert printed["images_per_s"] > 0


async def test_refusals_are_told_by_their_code(valkey_server: RedisServer, redis: Redis) -> None:
    settings = api_settings(valkey_server, queue={"key_burst": 1, "key_rate_per_s": 0.001})
    async with serving(settings) as api, painting(redis):
        args = arguments("--url", api.url, "--rate", "20", "--duration", "1")
        report = await loadtest._run(args, list(loadtest.make_shots(args)))
    assert report["num_ok"] == 1
    assert set(report["codes"]) == {"429 rate_limit_exceeded", "ok"}  # type: ignore[call-overload]  # a dict
