"""What a recipe says of its picture: written down, read again, refused by who does not know it."""

from __future__ import annotations

import hashlib
import json

import pytest
from redis.asyncio import Redis

from service.broker.dead_letters import DeadLetters
from service.broker.keys import Key
from service.errors import NotFound
from service.jobs import Job
from service.sources.source import DEFAULT_KEEP, Source
from service.worker.pictures.png import NoRecordError, Record
from tests.service.makers import ROOMY, claim_one, make_job, make_leases, make_queue, success

_SOURCE = Source("a" * 64, "b" * 64, fit="contain", strength=0.5, blend=False)


def test_a_job_survives_json_and_an_old_worker_refuses_it() -> None:
    job = make_job(source=_SOURCE, seed=77)
    written = json.loads(job.to_json())
    assert Job.from_json(job.to_json()) == job
    # What the release before drew by: a seed that it refuses.
    assert written["seed"] < 0
    assert "source" not in json.loads(make_job().to_json())


def test_files_are_known_by_their_hashes() -> None:
    source = Source.of_files(b"picture", None, strength=0.5)
    assert source == Source(hashlib.sha256(b"picture").hexdigest(), strength=0.5)
    assert Source.of_files(b"", b"mask").mask_sha256 == hashlib.sha256(b"mask").hexdigest()


def test_a_record_survives_json() -> None:
    record = Record(make_job(source=_SOURCE, seed=77).recipe, candidate=1)
    assert Record.from_json(record.to_json()) == record
    assert json.loads(record.to_json())["seed"] == 77


@pytest.mark.parametrize("source", ["x", 7, [], {"fit": "cover"}])
def test_a_record_of_a_source_that_is_none_is_damaged(source: object) -> None:
    text = json.dumps({"model": "tiny", "seed": 1, "source": source})
    with pytest.raises(NoRecordError):
        Record.from_json(text)


def test_where_nothing_says_what_to_draw_the_upper_half_is_kept() -> None:
    plain = Source("a" * 64)
    assert plain.complete(has_hole=False).keep == DEFAULT_KEEP
    assert plain.complete(has_hole=True).keep is None
    for told in (Source("a", "b"), Source("a", keep=0.0), Source("a", strength=0.1)):
        assert told.complete(has_hole=False) == told


async def test_a_picture_comes_with_the_claim_and_goes_with_the_job(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    job = make_job(source=_SOURCE)
    await queue.enqueue(job, ROOMY, source=b"picture")
    assert await redis.pttl(Key.SOURCE.of(job.id)) > 0
    claim = await claim_one(leases)
    assert (claim.source, claim.job) == (b"picture", job)
    await leases.release(claim)
    claim = await claim_one(leases)
    assert claim.source == b"picture"
    await leases.finish(claim, success())
    assert not await redis.exists(Key.SOURCE.of(job.id))
    plain = make_job()
    await queue.enqueue(plain, ROOMY)
    assert (await claim_one(leases)).source is None


async def test_a_dead_letter_is_tried_again_with_its_picture(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    letters = DeadLetters(redis, result_ttl_s=60)
    await queue.enqueue(make_job(source=_SOURCE), ROOMY, source=b"picture")
    while not await letters.list():
        await leases.crashed(await claim_one(leases), "boom")
    (letter,) = await letters.list()
    await letters.retry(letter.id)
    claim = await claim_one(leases)
    assert claim.source == b"picture"
    while not await letters.list():
        await leases.crashed(claim, "boom")
        claim = claim if await letters.list() else await claim_one(leases)
    (letter,) = await letters.list()
    await redis.delete(Key.SOURCE.of(letter.job.id))
    with pytest.raises(NotFound, match="no longer kept"):
        await letters.retry(letter.id)
    assert len(await letters.list()) == 1
