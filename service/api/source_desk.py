"""Pictures that callers send, read and fitted off the event loop, one at a time.

The largest take a second or two and three hundred megabytes on the way, however small their files:
so no crowd of them is let in. Knows no queue and no HTTP.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from service.answers.source_request import CodesRequest, SourceRequest
from service.broker.workers import ModelCard
from service.errors import BodyTooLarge, InvalidRequest, UploadsFull
from service.sources.prepared import prepare
from service.sources.source import Source, sha256

_MOST_WAITING = 16
_RETRY_S = 2.0


class SourceDesk:
    """Prepares pictures. `num_here` of them wait or are read; UploadsFull when too many do."""

    def __init__(self) -> None:
        self._desk = asyncio.Lock()
        self.num_here = 0

    async def prepare(
        self, body: SourceRequest, card: ModelCard, check: Callable[[], Awaitable[None]]
    ) -> tuple[Source, bytes]:
        """What the recipe says of the body's picture, and the file for the worker.

        `check` raises where reading it would be in vain. It is asked at once, and again when it is
        this picture's turn: those before it may have taken what was left of a key's rate.
        InvalidRequest names the field that is at fault, or that this model can't take.
        """
        await check()
        if isinstance(body, CodesRequest):
            _check_codes(body, card)
            data = json.dumps(body.codes).encode()
            return Source(sha256(data), keep=1.0, is_codes=True), data
        if body.image is None:
            raise InvalidRequest("image is missing.", param="image")
        _check(body)
        if self.num_here >= _MOST_WAITING:
            raise UploadsFull(_RETRY_S)
        width, height = map(int, card.size.split("x"))
        self.num_here += 1
        try:
            await self._turn(check)
            working = asyncio.to_thread(_prepared, body, body.image, (width, height))
            work = asyncio.ensure_future(working)
            # Not when its caller has gone: a thread can't be stopped, and keeps its memory.
            work.add_done_callback(lambda _: self._desk.release())
            return await asyncio.shield(work)
        finally:
            self.num_here -= 1

    async def _turn(self, check: Callable[[], Awaitable[None]]) -> None:
        """Wait for the desk, and keep it unless the picture need not be read any more."""
        await self._desk.acquire()
        try:
            await check()
        except BaseException:
            self._desk.release()
            raise


def check_length(body: SourceRequest, max_bytes: int) -> None:
    """Where pictures are taken, bodies may be as long as those are.

    Where the other fields are longer together than any other body may be: BodyTooLarge, or beside
    a picture InvalidRequest with the longest of them.
    """
    rest = body.model_dump_json(exclude={"image", "mask", "codes"}, exclude_defaults=True)
    if len(rest.encode()) <= max_bytes:
        return
    if not body.has_picture:
        raise BodyTooLarge(max_bytes)
    fields = json.loads(rest)
    raise InvalidRequest(
        f"The fields that are no pictures can have at most {max_bytes} bytes.",
        param=max(fields, key=lambda name: len(json.dumps(fields[name]))),
    )


def check_alone(body: SourceRequest) -> None:
    """InvalidRequest for a field that has no meaning without a picture."""
    for field in ("mask", "keep", "strength"):
        if getattr(body, field) is not None:
            raise InvalidRequest(f"{field} is about an image, and there is none.", param=field)


def _check_codes(body: CodesRequest, card: ModelCard) -> None:
    """By the card, which knows the largest vocabulary of all levels only: the worker looks, too."""
    num_steps = card.codes_per_candidate // card.depth
    is_whole = len(body.codes) == num_steps and all(len(at) == card.depth for at in body.codes)
    if not is_whole or max(map(max, body.codes)) >= card.vocab_size:
        raise InvalidRequest(
            f"codes must be {num_steps} lists of {card.depth} codes, each below {card.vocab_size}.",
            param="codes",
        )


def _check(body: SourceRequest) -> None:
    if body.keep is not None and body.strength is not None:
        raise InvalidRequest("strength stands instead of keep: send one of them.", param="strength")
    if body.mask is not None and (body.keep is not None or body.strength is not None):
        raise InvalidRequest(
            "mask says what is drawn anew, and so do keep and strength: send one of them.",
            param="mask",
        )


def _prepared(body: SourceRequest, image: bytes, size: tuple[int, int]) -> tuple[Source, bytes]:
    source = Source.of_files(
        image,
        body.mask,
        fit=body.fit or "cover",
        keep=body.keep,
        strength=body.strength,
        blend=body.blend is not False,
    )
    prepared = prepare(image, body.mask, source, size)
    return prepared.complete(source), prepared.data
