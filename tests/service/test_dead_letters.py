from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from service import cli
from service.broker.dead_letters import DeadLetters
from service.broker.keys import Key
from service.errors import NotFound
from service.jobs import Job, JobStatus
from tests.servers import RedisServer
from tests.service.makers import POLICY, claim_one, make_leases, make_queue, make_sweeper, put


async def bury(redis: Redis) -> Job:
    queue, leases = make_queue(redis), make_leases(redis)
    job = await put(queue, prompt="poison", num_candidates=3)
    for _ in range(3):
        await leases.crashed(await claim_one(leases, 3), "RuntimeError: poison")
    return job


async def test_a_letter_holds_the_job_and_its_error(redis: Redis) -> None:
    letters = DeadLetters(redis, result_ttl_s=60)
    assert await letters.list() == []
    jobs = [await bury(redis), await bury(redis)]
    found = await letters.list()
    assert [letter.job for letter in found] == jobs[::-1]
    assert (found[0].error, found[0].attempts) == ("RuntimeError: poison", 3)
    assert len(await letters.list(limit=1)) == 1
    assert len(await letters.list()) == 2
    assert (await make_queue(redis).depth("tiny")).dead_letters == 2
    assert await redis.pttl(Key.DEAD.of()) > 0


async def test_a_letter_goes_when_its_time_is_over_though_newer_ones_stay(
    every_redis: Redis,
) -> None:
    letters, stream = DeadLetters(every_redis, result_ttl_s=60), Key.DEAD.of()
    await bury(every_redis)
    entries: Any = await every_redis.xrange(stream)
    ((letter_id, fields),) = entries
    await every_redis.delete(stream)
    died_ms = int(letter_id.split(b"-")[0]) - round(POLICY.dead_letter_ttl_s * 1000)
    for late_ms in (-2000, 60_000):
        await every_redis.xadd(stream, fields, id=f"{died_ms + late_ms}-0")
    newest = await bury(every_redis)
    await make_sweeper(every_redis).sweep()
    kept = await letters.list()
    assert [letter.id for letter in kept[1:]] == [f"{died_ms + 60_000}-0"]
    assert kept[0].job == newest


async def test_retry_queues_it_again(redis: Redis) -> None:
    letters, queue = DeadLetters(redis, result_ttl_s=60), make_queue(redis)
    old = await bury(redis)
    (letter,) = await letters.list()
    new_id = await letters.retry(letter.id)
    assert await letters.list() == []
    view = await queue.get(new_id)
    assert (view.status, view.attempts) == (JobStatus.QUEUED, 0)
    assert view.job.recipe == old.recipe
    claim = await claim_one(make_leases(redis), 3)
    assert (claim.job.id, claim.is_isolated) == (new_id, False)
    with pytest.raises(NotFound):
        await letters.retry(letter.id)


async def test_drop_throws_it_away(redis: Redis) -> None:
    letters = DeadLetters(redis, result_ttl_s=60)
    await bury(redis)
    (letter,) = await letters.list()
    await letters.drop(letter.id)
    assert await letters.list() == []
    for wrong in (letter.id, "nonsense", "1-1"):
        with pytest.raises(NotFound):
            await letters.drop(wrong)


@pytest.mark.parametrize("verb", ["retry", "drop"])
async def test_the_command_goes_on_after_a_letter_that_is_gone(
    verb: str,
    redis: Redis,
    valkey_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MINDALLE_REDIS__URL", valkey_server.url)
    await bury(redis)
    letters = DeadLetters(redis, result_ttl_s=60)
    (letter,) = await letters.list()
    assert await asyncio.to_thread(cli.main, ["dlq", verb, "1-1", letter.id, "2-2"]) == 2
    assert await letters.list() == []
    told = capsys.readouterr()
    assert told.out.startswith(f"{letter.id} ")
    assert "'1-1'" in told.err
    assert "'2-2'" in told.err


async def test_the_command_says_that_there_are_more_letters_than_it_lists(
    redis: Redis,
    valkey_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MINDALLE_REDIS__URL", valkey_server.url)
    for _ in range(2):
        await bury(redis)
    assert await asyncio.to_thread(cli.main, ["dlq", "list", "--limit", "1"]) == 0
    told = capsys.readouterr()
    assert (len(told.out.splitlines()), "--limit" in told.err) == (1, True)
    assert await asyncio.to_thread(cli.main, ["dlq", "list", "--limit", "2"]) == 0
    told = capsys.readouterr()
    assert (len(told.out.splitlines()), told.err) == (2, "")
