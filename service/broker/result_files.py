"""A worker's side of results that a store keeps: files are put before the script that commits them.

A file's name has the job, the claim's fence and the candidate, so that no two claims meet. A worker
that learns that its claim was lost takes its files out itself; for all others the job is noted
before its first file is put, and whoever sweeps removes what no job has any more: results that have
expired, what a worker left that died between put and commit, and of a job in parts the pictures
that others were better than.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from service.broker.keys import Key
from service.broker.redis_connection import translated_errors
from service.broker.results import file_name, reference, stored_path
from service.broker.scripts import Clock, Scripts
from service.errors import QueueUnavailable, ResultsUnavailable
from service.jobs import CODES_FILE, Image, Job
from service.store.object_store import ObjectStore

_SLACK_S = 60.0  # beyond the time in which a file must have been put, or removed

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _File:
    """One file: its name among those of its job, its path below its job's, its bytes."""

    name: str
    path: str
    data: bytes
    media_type: str


class ResultFiles:
    """`clock` is for tests only."""

    def __init__(self, redis: Redis, store: ObjectStore, clock: Clock | None = None) -> None:
        self._redis = redis
        self._scripts = Scripts(redis, clock)
        self._store = store

    async def put(self, job: Job, fence: int, images: Sequence[Image]) -> dict[str, bytes]:
        """Store every file of the images; gives what stands in their places in Redis.

        Putting the same files again changes nothing.

        Raises:
            ResultsUnavailable: not all of them could be stored in time.
        """
        look_ms = 1000 * math.ceil(_SLACK_S + self._store.longest_s)
        await self._scripts.run("note_files", {"id": job.id, "look_ms": look_ms})
        files = _files(job, fence, images)
        await _all_of(
            self._store.put(f"{job.id}/{file.path}", file.data, file.media_type) for file in files
        )
        return {file.name: reference(file.path) for file in files}

    async def drop(self, job: Job, fence: int, images: Sequence[Image]) -> None:
        """Remove the files of a claim that was lost, if the store answers."""
        try:
            await self._store.delete(
                [f"{job.id}/{file.path}" for file in _files(job, fence, images)]
            )
        except ResultsUnavailable:
            _log.debug("left to the sweep")

    async def sweep(self) -> int:
        """Remove the files of some jobs that have none any more; gives how many jobs. What jobs in
        parts put and did not keep goes, too.

        Raises:
            QueueUnavailable, ResultsUnavailable: then another sweep does it.
        """
        again_ms = 1000 * math.ceil(_SLACK_S + 2 * self._store.longest_s)
        # Lua writes an empty list as an empty object.
        due = json.loads(await self._scripts.run("due_files", {"again_ms": again_ms}))
        removing = [self._remove(job_id) for job_id in due["unneeded"]]
        await _all_of([*removing, *map(self._tidy, due["untidy"])])
        return len(removing)

    async def _remove(self, job_id: str) -> None:
        await self._store.delete_below(job_id)
        async with translated_errors():
            await self._redis.zrem(Key.FILES.of(), job_id)

    async def _tidy(self, job_id: str) -> None:
        async with translated_errors():
            values: Any = await self._redis.hvals(Key.IMAGES.of(job_id))
        await self._store.delete_below(job_id, but={stored_path(job_id, each) for each in values})

    async def keep_swept(self, interval_s: float) -> None:
        """Sweep for ever."""
        while True:
            try:
                await self.sweep()
            except (QueueUnavailable, ResultsUnavailable) as error:
                _log.debug("no sweep of files: %s", error)
            await asyncio.sleep(interval_s)


async def _all_of(steps: Iterable[Awaitable[None]]) -> None:
    """Do all at once, and let all of them end, before the first failure is raised."""
    for failure in await asyncio.gather(*steps, return_exceptions=True):
        if failure is not None:
            raise failure


def _files(job: Job, fence: int, images: Sequence[Image]) -> list[_File]:
    kind, found = job.output_format, []
    for image in images:
        start = f"{fence}/{image.candidate}"
        whole = _File(file_name(image.rank), f"{start}.{kind}", image.data, f"image/{kind}")
        found.append(whole)
        for number, (query, data) in enumerate(image.coarser.items(), 1):
            path, media_type = f"{start}_{number}.{kind}", f"image/{kind}"  # short: Redis keeps it
            if query == CODES_FILE:
                path, media_type = f"{start}.json", "application/json"
            found.append(_File(file_name(image.rank, query), path, data, media_type))
    return found
