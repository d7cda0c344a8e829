"""A worker that draws nothing: it claims jobs and ends each at once, with files of noise.

For `mindalle bench queue`, as a process of its own: what is left is what the queue costs. A job's
files are as large as its argument says.
"""

from __future__ import annotations

import asyncio
import random
import sys

from redis.asyncio import Redis

from service.broker import redis_connection
from service.broker.claims import Claim
from service.broker.leases import Leases
from service.broker.workers import ModelCard, WorkerInfo, Workers
from service.jobs import Image, Succeeded
from service.settings import Settings, load

ROWS = 64
_HEARTBEAT_S = 1.0
_SIZE = "256x256"


async def work(settings: Settings, name: str, num_bytes: int) -> None:
    """Until it is cancelled."""
    redis = redis_connection.connect(settings.redis)
    card = ModelCard(settings.model, size=_SIZE)
    leases = Leases(redis, model=card.model, worker_id=name, policy=settings.queue)
    file = random.Random(0).randbytes(num_bytes)
    async with redis, asyncio.TaskGroup() as group:
        group.create_task(_live(redis, WorkerInfo(name, card, "ready", rows_total=ROWS)))
        group.create_task(_end_all(leases, file))


async def _live(redis: Redis, info: WorkerInfo) -> None:
    workers = Workers(redis, heartbeat_s=_HEARTBEAT_S)
    while True:
        await workers.heartbeat(info)
        await asyncio.sleep(_HEARTBEAT_S)


async def _end_all(leases: Leases, file: bytes) -> None:
    while True:
        claimed = await leases.claim(free_rows=ROWS, num_running=0, block_s=1.0)
        await asyncio.gather(*(_end(leases, claim, file) for claim in claimed.claims))


async def _end(leases: Leases, claim: Claim, file: bytes) -> None:
    await leases.finish(claim, _outcome(claim, file))


def _outcome(claim: Claim, file: bytes) -> Succeeded:
    kept = claim.candidates[: claim.job.recipe.n]
    images = tuple(Image(rank, candidate, None, file) for rank, candidate in enumerate(kept))
    return Succeeded(images, _SIZE, {})


if __name__ == "__main__":
    asyncio.run(work(load(), sys.argv[1], int(sys.argv[2])))
