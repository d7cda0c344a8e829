"""The worker's side of the queue: claim jobs, keep them, end them or hand them back.

A claim is a lease with a fencing token. Every verb that changes a job sends the token and changes
nothing when it is stale. What happens to leases that nobody renews is in sweep.py.
"""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from service.broker.claims import Claim, Claimed, CrashEnd, LeaseState
from service.broker.keys import Key
from service.broker.parts import Committed, part_arguments
from service.broker.redis_connection import translated_errors
from service.broker.result_files import ResultFiles
from service.broker.results import compact, files_of, in_rank_order, metas_to_fields
from service.broker.scripts import Clock, Scripts
from service.broker.wakeups import messages
from service.config.groups import QueueSettings
from service.jobs import Expired, Failed, Image, Outcome, Progress, Succeeded
from service.store.object_store import ObjectStore

_LONGEST_BLOCK_S = 0.4  # below any time limit for a command
CRASH_MESSAGE = "The model crashed on this job."  # what its caller may know
_UNSTORED_MESSAGE = "The pictures of this job could not be stored."


class Leases:
    """Verbs of one worker process for one model. `clock` is for tests only.

    Files of pictures go to `store`, or into Redis without one. Every verb raises QueueUnavailable
    when Redis does not answer; the job's lease then still runs.
    Safe to repeat after such an error: a second `finish` of the same claim returns the same, and a
    second `claim` brings the jobs of the first, whose answer was lost.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        model: str,
        worker_id: str,
        policy: QueueSettings,
        store: ObjectStore | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._redis = redis
        self._scripts = Scripts(redis, clock)
        self._files = None if store is None else ResultFiles(redis, store, clock)
        self._model = model
        self._worker_id = worker_id
        self._policy = policy
        self._lease_ms = math.ceil(policy.lease_s * 1000)
        self._nonce = secrets.token_hex(8)  # of the claim that has no answer yet
        self._claiming = asyncio.Lock()

    async def claim(self, *, free_rows: int, num_running: int, block_s: float = 0.0) -> Claimed:
        """Take the best waiting jobs until their candidates fill `free_rows`.

        Of a job that they don't hold it takes a part, and the rest stays first in line; a job that
        can't be drawn in parts is taken whole.
        With nothing to take, waits up to `block_s` for a new job and tries once more. With
        `num_running` 0 it may bring one isolated job instead, and nothing beside it.
        """
        claimed, last_ticket = await self._claim(free_rows, num_running)
        if claimed.claims or claimed.must_drain or block_s <= 0:
            return claimed
        if not await self._new_ticket(last_ticket, block_s):
            return claimed
        again, _ = await self._claim(free_rows, num_running)
        return replace(again, num_expired=claimed.num_expired + again.num_expired)

    async def _claim(self, free_rows: int, num_running: int) -> tuple[Claimed, str]:
        arguments = {
            "model": self._model,
            "worker": self._worker_id,
            "free_rows": free_rows,
            "num_running": num_running,
            "lease_ms": self._lease_ms,
        }
        async with self._claiming:
            head, *bodies = await self._scripts.run("claim", arguments | {"nonce": self._nonce})
            reply = json.loads(head)
            claims = reply["claims"] or []  # Lua writes an empty list as an empty object
            pairs = zip(claims, bodies, strict=True)
            found = await self._with_sources([Claim.of(*pair) for pair in pairs])
            self._nonce = secrets.token_hex(8)  # not before: else nobody would have these jobs
        return Claimed(found, reply["must_drain"], reply["num_expired"]), reply["last"]

    async def _with_sources(self, claims: Sequence[Claim]) -> tuple[Claim, ...]:
        """With the pictures that they begin with."""
        found = []
        for claim in claims:
            source: Any = None
            if claim.job.recipe.source is not None:
                async with translated_errors():
                    source = await self._redis.get(Key.SOURCE.of(claim.job.id))
            found.append(claim if source is None else replace(claim, source=bytes(source)))
        return tuple(found)

    async def _new_ticket(self, last_ticket: str, block_s: float) -> bool:
        tickets: dict[Any, Any] = {Key.TICKETS.of(self._model): last_ticket}
        give_up = time.monotonic() + block_s
        while (left := give_up - time.monotonic()) > 0:
            block_ms = math.ceil(min(left, _LONGEST_BLOCK_S) * 1000)
            async with translated_errors():
                if await self._redis.xread(tickets, count=1, block=block_ms):
                    return True
        return False

    async def renew(
        self, claims: Sequence[Claim], progress: Mapping[str, Progress]
    ) -> dict[str, LeaseState]:
        """Prolong the leases and store progress, both by the claims' ids.

        Only call it when steps were made. Of a job in parts it publishes the progress, too.
        """
        if not claims:
            return {}
        arguments = {
            "worker": self._worker_id,
            "lease_ms": self._lease_ms,
            "claims": [claim.renewal(progress.get(claim.id)) for claim in claims],
        }
        states = json.loads(await self._scripts.run("renew", arguments))
        pairs = zip(claims, states, strict=True)
        return {claim.id: LeaseState(state) for claim, state in pairs}

    async def publish(
        self, claim: Claim, name: str, data: Mapping[str, object], image: bytes | None = None
    ) -> bool:
        """Append an event (`progress`, `partial_image`); False when the claim is stale."""
        text = compact(data)
        blobs = (text,) if image is None else (text, image)
        return await self._guarded("publish", claim, {"name": name}, *blobs)

    async def finish(self, claim: Claim, outcome: Outcome) -> Committed:
        """Commit images, state and acknowledgement in one step.

        The last part of a job to succeed ends it, with the best pictures of all parts; one that
        fails or is late ends it for all. ResultsUnavailable when a store does not take the images:
        nothing is committed then.
        """
        match outcome:
            case Succeeded():
                commit = self._succeed if claim.part is None else self._succeed_in_part
                return Committed(await commit(claim, outcome))
            case Failed(code, message):
                fields = ["error_code", code, "error_message", message]
                data = json.dumps({"code": code, "message": message})
                arguments = {"state": "failed", "fields": fields}
                return Committed(await self._run("finish", claim, arguments, data))
            case Expired():
                arguments = {"state": "expired", "fields": []}
                return Committed(await self._run("finish", claim, arguments, "{}"))

    async def _succeed(self, claim: Claim, outcome: Succeeded) -> int:
        images = in_rank_order(outcome.images)
        fields = metas_to_fields(images) + _facts(outcome)
        fields += ["timings", compact(_rounded(outcome.timings_s))]
        if claim.job.min_score is not None:
            fields += ["num_drawn", str(outcome.num_drawn)]
        arguments = {"state": "succeeded", "fields": fields}
        data = json.dumps({"num_images": len(images)})
        return await self._run_with_files("finish", claim, images, arguments, data)

    async def _succeed_in_part(self, claim: Claim, outcome: Succeeded) -> int:
        images = in_rank_order(outcome.images)
        arguments = part_arguments(images, claim.job.recipe.n, _rounded(outcome.timings_s))
        arguments |= {"fields": _facts(outcome)}
        return await self._run_with_files("finish_part", claim, images, arguments)

    async def _run_with_files(
        self,
        script: str,
        claim: Claim,
        images: Sequence[Image],
        arguments: dict[str, Any],
        *blobs: str,
    ) -> int:
        """Run a script that commits files: they are in its hands, or the store has them before."""
        store = self._files
        files = await store.put(claim.job, claim.fence, images) if store else files_of(images)
        arguments = arguments | {"files": list(files)}
        committed = await self._run(script, claim, arguments, *blobs, *files.values())
        if store and committed in (Committed.STALE, Committed.LATE, Committed.CANCELLED):
            await store.drop(claim.job, claim.fence, images)
        return committed

    async def release(self, claim: Claim) -> bool:
        """Hand it back for another worker (drain): old place in the order, attempt not counted."""
        return await self._guarded("give_back", claim, {})

    async def crashed(self, claim: Claim, failure: str) -> CrashEnd:
        """A batch with this job in it crashed: try it alone next time, or make it a dead letter.

        `failure` goes to the dead letter, for the operator; the caller sees a fixed sentence.
        """
        return await self._fail(claim, failure, {"message": CRASH_MESSAGE})

    async def unstored(self, claim: Claim, failure: str) -> CrashEnd:
        """The store does not take the job's pictures: try it again later, as often as it may be.

        No fault of the job: it need not run alone, and after its last attempt it is a dead letter.
        """
        about = {"message": _UNSTORED_MESSAGE, "code": "results_unavailable"}
        return await self._fail(claim, failure, about)

    async def _fail(self, claim: Claim, failure: str, about: Mapping[str, str]) -> CrashEnd:
        arguments = {
            "failure": failure,
            **about,
            "max_attempts": self._policy.max_attempts,
            "letter_ttl_ms": math.ceil(self._policy.dead_letter_ttl_s * 1000),
        }
        return CrashEnd(await self._run("give_back", claim, arguments))

    async def _guarded(
        self, script: str, claim: Claim, arguments: dict[str, Any], *blobs: bytes | str
    ) -> bool:
        return await self._run(script, claim, arguments, *blobs) > 0

    async def _run(
        self, script: str, claim: Claim, arguments: dict[str, Any], *blobs: bytes | str
    ) -> int:
        guard = {"id": claim.job.id, "fence": claim.fence}
        return int(await self._scripts.run(script, guard | arguments, *blobs))

    async def cancellations(self) -> AsyncGenerator[str, None]:
        """Ids of running jobs that callers cancel, as it happens; for the life of the worker.

        Reconnects by itself. Messages lost meanwhile are made up for by `renew`.
        """
        async for job_id in messages(self._redis, Key.CONTROL):
            if job_id is not None:
                yield job_id


def _facts(outcome: Succeeded) -> list[str]:
    """Names and values of what is the same for all parts of a job."""
    facts = ["size", outcome.size]
    if outcome.prompt_truncated:
        facts += ["prompt_truncated", "1"]
    if outcome.native_size not in (None, outcome.size):
        facts += ["native_size", str(outcome.native_size)]
    return facts + (["views", compact(outcome.views)] if outcome.views else [])


def _rounded(timings_s: Mapping[str, float]) -> dict[str, float]:
    """To microseconds: each digit stays in Redis for as long as the result."""
    return {phase: round(seconds, 6) for phase, seconds in timings_s.items()}
