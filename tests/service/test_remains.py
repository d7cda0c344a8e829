"""What lua/remains.lua leaves of a job that has ended, as callers see it.

How much room it takes is in test_result_files.py.
"""

from __future__ import annotations

from redis.asyncio import Redis

from service.jobs import Failed, Progress
from tests.service.makers import claim_one, make_leases, make_queue, progress_told, put, success


async def test_who_follows_a_job_over_its_end_misses_no_picture(every_redis: Redis) -> None:
    """Progress but for the last goes with the end: also the event at which the client stands."""
    queue, leases = make_queue(every_redis), make_leases(every_redis)
    job = await put(queue)
    claim = await claim_one(leases)
    await leases.publish(claim, "progress", {"codes_done": 1})
    seen = queue.events(job.id)
    stands_at = [await anext(seen) for _ in range(3)][-1]
    assert stands_at.name == "progress"
    for index in range(2):
        await leases.publish(claim, "progress", {"codes_done": index + 2})
        await leases.publish(claim, "partial_image", {"index": index}, b"png%d" % index)
    await leases.finish(claim, success())
    later = [event async for event in queue.events(job.id, stands_at.id)]
    assert [event async for event in seen] == later
    told = [(event.name, event.image, event.data.get("codes_done")) for event in later]
    assert told[:-1] == [
        ("partial_image", b"png0", None),
        ("progress", None, 3),
        ("partial_image", b"png1", None),
    ]
    assert later[-1].name == "succeeded"
    whole = [event async for event in queue.events(job.id)]
    assert [event.name for event in whole[:2]] == ["queued", "started"]
    assert whole[2:] == later


async def test_pictures_that_need_much_room_keep_all_events(redis: Redis) -> None:
    """Next to them progress is nothing, and they would all have to be written again."""
    queue, leases = make_queue(redis), make_leases(redis)
    job = await put(queue)
    claim = await claim_one(leases)
    for number in range(3):
        await leases.publish(claim, "progress", {"codes_done": number})
    await leases.publish(claim, "partial_image", {"index": 0}, b"x" * 9000)
    await leases.finish(claim, success())
    assert await progress_told(redis, job.id) == [0, 1, 2]
    assert [event.image async for event in queue.events(job.id)][5] == b"x" * 9000


async def test_how_far_a_failed_job_came_is_still_told(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    job = await put(queue)
    claim = await claim_one(leases)
    await leases.renew([claim], {claim.id: Progress(3, 16, "decode")})
    await leases.finish(claim, Failed("broken", "It broke."))
    assert (await queue.get(job.id)).progress == Progress(3, 16, "decode")
