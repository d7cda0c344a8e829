"""Pictures that callers send, read and fitted off the event loop, one at a time.

The largest take a second or two and three hundred megabytes on the way, however small their files:
so no crowd of them is let in. Knows no queue and no HTTP.
"""

from __future__ import annotations

import asyncio
import json

from service.answers.source_request import CodesRequest, SourceRequest
from service.errors import InvalidRequest, QueueFull
from service.sources.prepared import Prepared, prepare, sha256
from service.sources.source import Source

_MOST_WAITING = 16
_RETRY_S = 2.0


class SourceDesk:
    """Prepares pictures. QueueFull when too many wait for it."""

    def __init__(self) -> None:
        self._desk = asyncio.Lock()
        self._num_here = 0

    async def prepare(self, body: SourceRequest, size: str) -> tuple[Source, bytes]:
        """What the recipe says of the body's picture, and the file for the worker.

        For a model that makes pictures of `size`. InvalidRequest names the field that is at fault.
        """
        if isinstance(body, CodesRequest):
            data = json.dumps(body.codes).encode()
            return Source(sha256(data), keep=1.0, is_codes=True), data
        if body.image is None:
            raise InvalidRequest("image is missing.", param="image")
        _check(body)
        if self._num_here >= _MOST_WAITING:
            raise QueueFull(_RETRY_S)
        width, height = map(int, size.split("x"))
        self._num_here += 1
        try:
            async with self._desk:
                prepared = await asyncio.to_thread(
                    prepare, body.image, body.mask, body.fit or "cover", (width, height)
                )
        finally:
            self._num_here -= 1
        return source_of(body, prepared), prepared.data


def check_alone(body: SourceRequest) -> None:
    """Refuse what has no meaning without a picture."""
    for field in ("mask", "keep", "strength"):
        if getattr(body, field) is not None:
            raise InvalidRequest(f"{field} is about an image, and there is none.", param=field)


def _check(body: SourceRequest) -> None:
    if body.keep is not None and body.strength is not None:
        raise InvalidRequest("strength stands instead of keep: send one of them.", param="strength")
    if body.mask is not None and (body.keep is not None or body.strength is not None):
        raise InvalidRequest(
            "mask says what is drawn anew, and so do keep and strength: send one of them.",
            param="mask",
        )


def source_of(body: SourceRequest, prepared: Prepared) -> Source:
    """What the recipe says of it."""
    source = Source(
        image_sha256=prepared.image_sha256,
        mask_sha256=prepared.mask_sha256,
        fit=body.fit or "cover",
        keep=body.keep,
        strength=body.strength,
        blend=body.blend is not False,
    )
    return source.complete(has_hole=prepared.has_hole)
