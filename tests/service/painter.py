"""A worker that paints plain squares instead of running a model, for tests of the HTTP side.

It takes part in the queue as every worker does: signs of life, claims, events, leases, results. Its
pictures are real files, and a function of prompt, seed and candidate.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from PIL import Image as Pillow
from redis.asyncio import Redis

from models.configs.preset import SamplingDefaults
from service.broker.claims import Claim, LeaseState
from service.broker.leases import Leases
from service.broker.stopping import stop
from service.broker.workers import ModelCard, WorkerInfo, Workers
from service.config.groups import QueueSettings
from service.config.results import ResultsSettings
from service.jobs import Failed, Image, Job, Outcome, Progress, Succeeded
from service.store.object_store import open_store

NUM_STEPS = 16
FAILING_PROMPT = "please fail"
LONG_PROMPT = 64  # a longer prompt is cut, the painter says
POLICY = QueueSettings(lease_s=10.0, max_attempts=3, dead_letter_ttl_s=60.0)

TEXT_CARD = ModelCard(
    model="tiny",
    licence="Apache-2.0",
    size="32x32",
    prompt_len=8,
    prompt_kind="text",
    max_candidates=96,
    vocab_size=64,
    codes_per_candidate=NUM_STEPS,
    defaults=SamplingDefaults(top_k=32, num_candidates=4),
    weights_digest="0" * 64,
    takes_pictures=True,  # it paints its squares over them
)
CLASS_CARD = replace(TEXT_CARD, model="tiny-class", prompt_kind="class", num_classes=10)
UNCOND_CARD = replace(TEXT_CARD, model="tiny-uncond", prompt_kind="none", prompt_len=1)


def paint(job: Job, candidate: int) -> bytes:
    """The file of a square in a colour that job and candidate decide."""
    recipe = job.recipe
    digest = hashlib.sha256(f"{recipe.prompt}|{recipe.seed}|{candidate}".encode()).digest()
    file = io.BytesIO()
    Pillow.new("RGB", (32, 32), tuple(digest[:3])).save(file, job.output_format)
    return file.getvalue()


class Painter:
    """One such worker. While `gate` is closed (cleared), the jobs it holds do not end."""

    def __init__(
        self,
        redis: Redis,
        card: ModelCard,
        rows: int = 128,
        results: ResultsSettings | None = None,
    ) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.evicted: list[str] = []
        self.running: set[str] = set()
        self.started: list[Job] = []
        self._rows = rows
        self._id = f"painter-{card.model}"
        self._card = card
        self._workers = Workers(redis)
        self._leases = Leases(
            redis,
            model=card.model,
            worker_id=self._id,
            policy=POLICY,
            store=open_store(results or ResultsSettings()),
        )

    async def announce(self) -> None:
        """Give a sign of life."""
        info = WorkerInfo(
            id=self._id,
            state="ready",
            card=self._card,
            rows_total=self._rows,
            rows_busy=len(self.running),
            candidates_per_s=100.0,
            num_steps=0,
            is_progressing=True,
            version="0",
        )
        await self._workers.heartbeat(info)

    async def leave(self) -> None:
        """Go off the list."""
        await self._workers.remove(self._id, self._card.model)

    async def run(self) -> None:
        """Claim and paint until cancelled."""
        # No TaskGroup: it cancels its tasks once, and a task in a loop of Redis commands may miss
        # that (see `stop`).
        jobs: list[asyncio.Task[None]] = []
        try:
            while True:
                await self.announce()
                claimed = await self._leases.claim(
                    free_rows=self._rows, num_running=len(self.running), block_s=0.1
                )
                jobs += [asyncio.create_task(self._work(claim)) for claim in claimed.claims]
        finally:
            await stop(*jobs)

    async def _work(self, claim: Claim) -> None:
        job = claim.job
        self.running.add(job.id)
        self.started.append(job)
        try:
            await self._preview(claim)
            if await self._pass_gate(claim):
                await self._leases.finish(claim, self._outcome(job))
        finally:
            self.running.discard(job.id)

    async def _preview(self, claim: Claim) -> None:
        for index in range(claim.job.partial_images):
            data = {"index": index, "candidate": 0}
            await self._leases.publish(claim, "partial_image", data, paint(claim.job, -index))

    async def _pass_gate(self, claim: Claim) -> bool:
        total = claim.job.recipe.num_candidates * NUM_STEPS
        while not self.gate.is_set():
            progress = {claim.id: Progress(total // 2, total, "decode")}
            state = (await self._leases.renew([claim], progress))[claim.id]
            if state is not LeaseState.HELD:
                self.evicted.append(claim.job.id)
                return False
            await asyncio.sleep(0.02)
        return True

    def _outcome(self, job: Job) -> Outcome:
        prompt = job.recipe.prompt
        if prompt == FAILING_PROMPT:
            return Failed("model_error", "The model could not draw this.")
        is_ranked = self._card.prompt_kind == "text"
        images = tuple(
            Image(rank, rank, 0.5 - rank / 100 if is_ranked else None, paint(job, rank))
            for rank in range(job.recipe.n)
        )
        is_cut = isinstance(prompt, str) and len(prompt) > LONG_PROMPT
        return Succeeded(
            images, self._card.size, {"queue_wait": 0.0, "decode": 0.01}, prompt_truncated=is_cut
        )


@asynccontextmanager
async def painting(
    redis: Redis,
    card: ModelCard = TEXT_CARD,
    rows: int = 128,
    results: ResultsSettings | None = None,
) -> AsyncIterator[Painter]:
    """A painter at work; without rows it only says that it is there."""
    painter = Painter(redis, card, rows, results)
    await painter.announce()
    working = asyncio.create_task(painter.run())
    try:
        yield painter
    finally:
        await stop(working)
        await painter.leave()
