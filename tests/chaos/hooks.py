"""A receiver of webhooks that refuses or hangs up now and then, and keeps what it took."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict

from standardwebhooks import Webhook

from tests.chaos.callers import Ended
from tests.service.receiver import SECRET, Received, status

_LONGEST_S = 120.0
_REFUSED, _HUNG_UP = 0.2, 0.1


class Hooks:
    """What was told of each job: types of messages, as the library's verifier took them."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._told = defaultdict[str, set[str]](set)
        self.num_messages = 0

    def answer(self, got: Received) -> bytes:
        """To one message; empty bytes hang up."""
        message = Webhook(SECRET).verify(got.body, got.headers)
        chance = self._rng.random()
        if chance < _REFUSED:
            return status(503)
        if chance < _REFUSED + _HUNG_UP:
            return b""
        self.num_messages += 1
        self._told[message["data"]["id"]].add(message["type"])
        return status(204)

    async def missing(self, ended: list[Ended]) -> list[str]:
        """Jobs of whose end nobody was told, or of another one; waits a while for the last."""
        give_up = time.monotonic() + _LONGEST_S
        while (found := self._missing(ended)) and time.monotonic() < give_up:
            await asyncio.sleep(0.1)
        return found

    def _missing(self, ended: list[Ended]) -> list[str]:
        told = [end for end in ended if end.order.is_told]
        return [end.job_id for end in told if self._told[end.job_id] != {f"job.{end.status}"}]
