from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, ResponseError

from service.broker.fault_log import FaultLog
from service.broker.redis_connection import connect, disconnect, translated_errors
from service.broker.redis_faults import FAULT_OF_CODE, FAULTS, fault_of
from service.broker.workers import Workers
from service.config.groups import RedisSettings
from service.doctor.checks import redis_server
from service.errors import QueueUnavailable
from service.settings import Settings
from tests.servers import RedisServer
from tests.service.live_api import serving
from tests.service.makers import make_queue, put
from tests.service.redis_troubles import TROUBLES, Trouble
from tests.service.test_workers import INFO

FAULT = {fault.name: fault for fault in FAULTS}
CASES = [
    pytest.param(name, trouble, id=f"{name}-{case}")
    for name, troubles in TROUBLES.items()
    for case, trouble in troubles.items()
]


def _redis_settings(url: str) -> RedisSettings:
    timeout_s = 1.0 if url.startswith("rediss:") else 10.0  # a server without TLS never answers
    return RedisSettings(url=SecretStr(url), timeout_s=timeout_s, connect_timeout_s=timeout_s)


def _settings(url: str) -> Settings:
    return Settings.model_validate(
        {
            "model": "tiny",
            "redis": _redis_settings(url),
            "queue": {"sweep_interval_s": 0.05},
            "api": {"on_demand_models": "tiny"},  # so that no worker need be seen
        }
    )


@pytest.mark.parametrize(("name", "trouble"), CASES)
async def test_callers_log_and_metrics_are_told_why(
    name: str, trouble: Trouble, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fault = FAULT[name]
    async with trouble(tmp_path) as url, serving(_settings(url)) as api, api.client() as http:
        answer = await http.post("/v1/jobs", json={"prompt": "a"})
        assert answer.status_code == 503
        error = answer.json()["error"]
        assert (error["code"], error["message"]) == (fault.code, fault.message)
        assert answer.headers["retry-after"] == "2"
        counted = f'mindalle_redis_faults_total{{reason="{name}"}}'
        assert await api.metric(counted) >= 1.0
        refused = f'mindalle_jobs_rejected_total{{model="tiny",reason="{fault.code}"}}'
        assert await api.metric(refused) == 1.0
    lines = [record for record in caplog.records if record.name.endswith("fault_log")]
    assert {record.__dict__["reason"] for record in lines} == {name}
    assert len(lines) == 1  # said once, however often it is met
    assert fault.found in lines[0].getMessage()
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(("name", "trouble"), CASES)
async def test_the_doctor_says_what_to_do(name: str, trouble: Trouble, tmp_path: Path) -> None:
    async with trouble(tmp_path) as url:
        findings = await redis_server(_settings(url))
    (problem,) = [finding for finding in findings if finding.verdict == "problem"]
    assert problem.found.startswith(FAULT[name].found)
    assert problem.advice == FAULT[name].advice
    assert "s3cret" not in str(findings)


WRITES = ("full", "read_only", "disk", "cut_off")


@pytest.mark.parametrize("name", WRITES)
async def test_a_workers_sign_of_life_says_why_it_is_not_given(name: str, tmp_path: Path) -> None:
    (_, trouble), *_ = TROUBLES[name].items()
    async with trouble(tmp_path) as url:
        redis = connect(_redis_settings(url))
        with pytest.raises(QueueUnavailable) as caught:
            await Workers(redis).heartbeat(INFO)
        assert caught.value.code == FAULT[name].code
        await disconnect(redis)


async def test_what_is_over_is_over(every_server: RedisServer) -> None:
    redis = connect(_redis_settings(every_server.url))
    queue = make_queue(redis)
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueUnavailable) as caught:
            await put(queue)
        assert caught.value.code == "queue_memory_full"
    finally:
        await redis.config_set("maxmemory", 0)
    await put(queue)
    await redis.flushall()
    await disconnect(redis)


@pytest.mark.parametrize(
    "rules",
    ["~* &* +@all -zadd", "~{mindalle} &* +@all", "~* resetchannels +@all"],
    ids=["command", "key", "channel"],
)
async def test_a_right_may_be_missing_inside_a_script(
    every_server: RedisServer, rules: str
) -> None:
    operator = connect(_redis_settings(every_server.url))
    await operator.execute_command("ACL", "SETUSER", "small", "reset", "on", ">pw", *rules.split())  # type: ignore[no-untyped-call]  # untyped upstream
    small = connect(_redis_settings(every_server.url.replace("redis://", "redis://small:pw@")))
    with pytest.raises(QueueUnavailable) as caught:
        await put(make_queue(small))
    assert caught.value.code == "queue_permission_denied"
    await disconnect(small)
    await operator.acl_deluser("small")
    await operator.flushall()
    await disconnect(operator)


async def test_our_own_connections_may_be_used_up(redis: Redis, valkey_server: RedisServer) -> None:
    settings = RedisSettings(url=SecretStr(valkey_server.url), max_connections=4, timeout_s=60)
    ours = connect(settings)
    waiting: list[asyncio.Future[object]]
    waiting = [asyncio.ensure_future(ours.blpop([f"none{n}"], timeout=30)) for n in range(4)]
    while (await redis.info("clients"))["blocked_clients"] < 4:
        await asyncio.sleep(0.01)
    ours.connection_pool.timeout = 0.05  # type: ignore[attr-defined]  # of the blocking pool
    with pytest.raises(QueueUnavailable) as caught:
        async with translated_errors():
            await ours.ping()
    assert caught.value.code == "queue_connections_busy"
    for number in range(4):
        await redis.rpush(f"none{number}", "over")
    await asyncio.gather(*waiting)
    await disconnect(ours)


async def test_a_fault_of_ours_stays_one(valkey_server: RedisServer) -> None:
    redis = connect(_redis_settings(valkey_server.url))
    with pytest.raises(ResponseError, match="unknown command"):
        async with translated_errors():
            await redis.execute_command("MISCONFIGURE")  # type: ignore[no-untyped-call]  # untyped upstream
    await disconnect(redis)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("DENIED Redis is running in protected mode because", "permission"),
        ("MISCONF Errors writing to the AOF file: No space left on device", "disk"),
        ("UNBLOCKED force unblock from blocking operation", "away"),
        ("SELECT is not allowed in cluster mode", "database"),
        ("Command # 1 (SET {mindalle}:worker:BUSY ...) of pipeline caused error: OOM", "full"),
        ("Transaction discarded because of: READONLY You can't write", "read_only"),
        ("Error running script: @user_script: 9: -OOM command not allowed", "full"),
    ],
)
def test_refusals_without_a_class_are_known_by_their_words(text: str, name: str) -> None:
    fault = fault_of(ResponseError(text))
    assert fault is not None
    assert fault.name == name


def test_codes_and_names_are_told_apart() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULT_OF_CODE) == len(FAULTS)
    assert FAULT["away"].code == QueueUnavailable.code


def test_the_runbook_has_every_reason() -> None:
    rows = (Path(__file__).parents[2] / "deploy/README.md").read_text().splitlines()
    told = {row.split("`")[1]: row.split("`")[3] for row in rows if row.count("` | `queue_") == 1}
    assert told == {fault.name: fault.code for fault in FAULTS}


def _away() -> QueueUnavailable:
    error = QueueUnavailable()
    error.__cause__ = ConnectionError("refused")
    return error


def test_the_log_speaks_again_after_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    times = iter((0.0, 59.0, 61.0, 62.0))
    registry = CollectorRegistry()
    counter = Counter("f", "F.", ["reason"], registry=registry)
    faults = FaultLog(counter, clock=lambda: next(times))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            faults.note(_away())
        faults.note(QueueUnavailable(FAULT["full"].message, FAULT["full"].code))
    assert [record.__dict__["reason"] for record in caplog.records] == ["away", "away", "full"]
    assert caplog.records[0].__dict__["cause"] == "refused"
    assert registry.get_sample_value("f_total", {"reason": "away"}) == 3.0


def test_what_nobody_foresaw_is_told_with_its_traceback_as_seldom(
    caplog: pytest.LogCaptureFixture,
) -> None:
    times = iter((0.0, 1.0, 2.0, 61.0))
    counter = Counter("f", "F.", ["reason"], registry=CollectorRegistry())
    faults = FaultLog(counter, clock=lambda: next(times))
    errors = (TypeError("first"), TypeError("again"), KeyError("another"), TypeError("later"))
    for error in errors:
        faults.note_unforeseen("a part failed", error)
    told = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert told == [errors[0], errors[2], errors[3]]
