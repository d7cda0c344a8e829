"""Image bytes on their way in and out; an object store for them would change only this file.

Writing happens inside the finish script, so that state and pictures come at once: this file gives
it the bytes and what the job's hash keeps about them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from service.broker.keys import Key
from service.broker.redis_connection import translated_errors
from service.errors import ImageNotFound
from service.jobs import Image, ImageMeta


def in_rank_order(images: Sequence[Image]) -> list[Image]:
    """The images by rank; ValueError unless the ranks are 0, 1, 2 and so on."""
    ordered = sorted(images, key=lambda image: image.rank)
    if [image.rank for image in ordered] != list(range(len(ordered))):
        raise ValueError("image ranks must count up from 0 without gaps")
    return ordered


def files_of(images: Sequence[Image]) -> dict[str, bytes]:
    """Every file of the images, by its name among those of their job."""
    files = {_file(image.rank): image.data for image in images}
    for image in images:
        files |= {_file(image.rank, query): data for query, data in image.coarser.items()}
    return files


def _file(rank: int, query: str | None = None) -> str:
    return str(rank) if query is None else f"{rank}?{query}"


def metas_to_fields(images: Sequence[Image]) -> list[str]:
    """Names and values that the job's hash keeps about the images beside their bytes.

    Scores are a field of their own: the first release can't answer with one that is null, so that
    it gets a 0.0 for it in `images`.
    """
    metas = [[i.rank, i.candidate, i.score or 0.0, len(i.data)] for i in images]
    scores = [image.score for image in images]
    return ["images", json.dumps(metas), "scores", json.dumps(scores)]


def metas_of(fields: Mapping[str, bytes]) -> tuple[ImageMeta, ...]:
    """What a job's hash tells about its images; the reverse of `metas_to_fields`."""
    metas = [ImageMeta(*values[:4]) for values in json.loads(fields.get("images", b"[]"))]
    if "scores" in fields:
        scores = json.loads(fields["scores"])
        metas = [replace(meta, score=score) for meta, score in zip(metas, scores, strict=True)]
    return tuple(metas)


class Results:
    """Finished pictures by job and rank."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def image(self, job_id: str, rank: int, query: str | None = None) -> bytes:
        """File bytes of one picture, or of a coarser look at it by its `query`.

        ImageNotFound when there are none (any more).
        """
        async with translated_errors():
            data: Any = await self._redis.hget(Key.IMAGES.of(job_id), _file(rank, query))
        if data is None:
            raise ImageNotFound
        return bytes(data)
