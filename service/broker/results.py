"""Image bytes on their way in and out; an object store for them would change only this file.

Writing happens inside the finish script, so that state and pictures come at once: this file gives
it the bytes and what the job's hash keeps about them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
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


def metas_to_json(images: Sequence[Image]) -> str:
    """What is kept about the images beside their bytes."""
    return json.dumps([[i.rank, i.candidate, i.score, len(i.data)] for i in images])


def metas_from_json(text: bytes | str) -> tuple[ImageMeta, ...]:
    """The reverse of `metas_to_json`."""
    return tuple(ImageMeta(*values) for values in json.loads(text))


class Results:
    """Finished pictures by job and rank."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def image(self, job_id: str, rank: int) -> bytes:
        """File bytes of one picture; ImageNotFound when there are none (any more)."""
        async with translated_errors():
            data: Any = await self._redis.hget(Key.IMAGES.of(job_id), str(rank))
        if data is None:
            raise ImageNotFound
        return bytes(data)
