"""Image bytes on their way out, and what the job's hash keeps about them.

A job's images are a hash of files in Redis, written inside the script that ends the job, so that
state and pictures come at once. A file's value there is the file itself or, where a store keeps the
bytes, a reference to it; it lives as long either way. What puts files into a store, and removes
them again, is in result_files.py.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from redis.asyncio import Redis

from service.broker.keys import Key
from service.broker.redis_connection import translated_errors
from service.errors import ImageNotFound, ResultsUnavailable
from service.jobs import Image, ImageMeta
from service.store.object_store import ObjectStore, StoredFile

_log = logging.getLogger(__name__)

_File = TypeVar("_File")
_Reading = Callable[[ObjectStore, str], Awaitable[_File | None]]  # None: there is no such file
_REFERENCE = b"\0"  # no file of ours begins so


def in_rank_order(images: Sequence[Image]) -> list[Image]:
    """The images by rank; ValueError unless the ranks are 0, 1, 2 and so on."""
    ordered = sorted(images, key=lambda image: image.rank)
    if [image.rank for image in ordered] != list(range(len(ordered))):
        raise ValueError("image ranks must count up from 0 without gaps")
    return ordered


def files_of(images: Sequence[Image]) -> dict[str, bytes]:
    """Every file of the images, by its name among those of their job."""
    files = {file_name(image.rank): image.data for image in images}
    for image in images:
        files |= {file_name(image.rank, query): data for query, data in image.coarser.items()}
    return files


def file_name(rank: int, query: str | None = None) -> str:
    """Under which a job's images have a file of a picture, as it is or by `query`."""
    return str(rank) if query is None else f"{rank}?{query}"


def reference(path: str) -> bytes:
    """What stands in a file's place that the store has at this path below its job's."""
    return _REFERENCE + path.encode()


def stored_path(job_id: str, value: bytes) -> str | None:
    """Where the store has a file; None of one that is in Redis itself."""
    if not value.startswith(_REFERENCE):
        return None
    return f"{job_id}/{value.removeprefix(_REFERENCE).decode()}"


def metas_to_fields(images: Sequence[Image]) -> list[str]:
    """Names and values that the job's hash keeps about the images beside their bytes.

    Scores are told again where one is missing: the first release can't answer with one that is
    null, so that it gets a 0.0 for it in `images`.
    """
    metas = [[i.rank, i.candidate, i.score or 0.0, len(i.data)] for i in images]
    scores = [image.score for image in images]
    return ["images", compact(metas)] + (["scores", compact(scores)] if None in scores else [])


def compact(value: object) -> str:
    """Its JSON in as few bytes as it takes: much of it stays with each job."""
    return json.dumps(value, separators=(",", ":"))


def metas_of(fields: Mapping[str, bytes]) -> tuple[ImageMeta, ...]:
    """What a job's hash tells about its images; the reverse of `metas_to_fields`."""
    metas = [ImageMeta(*values[:4]) for values in json.loads(fields.get("images", b"[]"))]
    if "scores" in fields:
        scores = json.loads(fields["scores"])
        metas = [replace(meta, score=score) for meta, score in zip(metas, scores, strict=True)]
    return tuple(metas)


class Results:
    """Finished pictures by job and rank. Without a `store`, Redis has them all."""

    def __init__(self, redis: Redis, store: ObjectStore | None = None) -> None:
        self._redis = redis
        self._store = store

    async def image(self, job_id: str, rank: int, query: str | None = None) -> bytes:
        """File bytes of one picture, or of a coarser look at it by its `query`.

        Raises:
            ImageNotFound: there are none (any more).
            ResultsUnavailable: the store that has them does not answer.
        """
        return await self._read(job_id, rank, query, ObjectStore.get)

    async def file(self, job_id: str, rank: int, query: str | None = None) -> bytes | StoredFile:
        """The same, without holding as a whole what a store has."""
        return await self._read(job_id, rank, query, ObjectStore.open)

    async def addresses(self, job_id: str, num_images: int) -> list[str]:
        """Where anybody may read the images for a while, by rank; empty where there is no such."""
        if self._store is None or num_images == 0:
            return []
        key = Key.IMAGES.of(job_id)
        async with translated_errors():
            ttl_ms = await self._redis.pttl(key)
            values: Any = await self._redis.hmget(key, [file_name(n) for n in range(num_images)])
        paths = [stored_path(job_id, value) for value in values if value is not None]
        known = [path for path in paths if path is not None]
        if len(known) < num_images:  # older than the store, or gone
            return []
        return await self._store.sign(known, ttl_ms / 1000)

    async def _read(
        self, job_id: str, rank: int, query: str | None, of_store: _Reading[_File]
    ) -> bytes | _File:
        """What is in Redis as it is; what a store has, in the way of `of_store`."""
        value = await self._value(job_id, rank, query)
        path = stored_path(job_id, value)
        found = value if path is None else await of_store(self._opened_store(), path)
        if found is None:
            _log.warning("a result is not in the store: does MINDALLE_RESULTS__URL name it here?")
            raise ImageNotFound
        return found

    async def _value(self, job_id: str, rank: int, query: str | None) -> bytes:
        async with translated_errors():
            value: Any = await self._redis.hget(Key.IMAGES.of(job_id), file_name(rank, query))
        if value is None:
            raise ImageNotFound
        return bytes(value)

    def _opened_store(self) -> ObjectStore:
        if self._store is None:
            _log.warning("a result is in a store that MINDALLE_RESULTS__URL does not name here")
            raise ResultsUnavailable
        return self._store
