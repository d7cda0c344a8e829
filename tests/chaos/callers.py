"""Callers that send jobs whatever happens, cancel some, and write down how each one ended."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from service.jobs import TERMINAL
from tests.chaos.fleet import ROWS

_AGAIN_S = 0.2
_LONGEST_S = 600.0  # for one job, from the first attempt to send it
POISONS = ("poison", "deadly")


@dataclass(frozen=True)
class Order:
    """What is asked for. Orders of one `recipe` give the same pictures."""

    number: int
    recipe: int
    prompt: str
    num_candidates: int
    is_cancelled: bool

    @classmethod
    def of(cls, number: int, rng: random.Random, num_recipes: int) -> Order:
        """A usual one, seldom one that is larger than a worker, cancelled, or meant to do harm."""
        recipe = rng.randrange(num_recipes)
        sizes = (1, 2, 4, 3 * ROWS)
        prompt = f"thing {recipe}"
        if rng.random() < 0.02:
            prompt = rng.choice(POISONS)
        return cls(number, recipe, prompt, sizes[recipe % len(sizes)], rng.random() < 0.05)

    @property
    def body(self) -> dict[str, Any]:
        """Of the request."""
        size = self.num_candidates
        return {
            "prompt": self.prompt,
            "seed": self.recipe,
            "num_candidates": size,
            "n": min(size, 2),
        }


@dataclass
class Ended:
    """How it ended: a status, the ends among its events, its pictures' digest."""

    order: Order
    job_id: str
    status: str
    attempts: int
    seconds: float
    ends: list[str] = field(default_factory=list)
    pictures: str = ""


class Callers:
    """So many at once, on one service."""

    def __init__(self, url: str, run: str, at_once: int) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=20, trust_env=False)
        self._run = run
        self._room = asyncio.Semaphore(at_once)

    async def send(self, orders: list[Order]) -> list[Ended]:
        """All of them, to their ends."""
        async with self._http:
            return await asyncio.gather(*map(self._one, orders))

    async def _one(self, order: Order) -> Ended:
        async with self._room:
            began = time.monotonic()
            headers = {"idempotency-key": f"{self._run}-{order.number}"}
            sent = await self._surely("POST", "/v1/jobs", json=order.body, headers=headers)
            job_id = sent.json()["id"]
            if order.is_cancelled:
                await self._surely("DELETE", f"/v1/jobs/{job_id}")
            job = (await self._surely("GET", f"/v1/jobs/{job_id}")).json()
            while job["status"] not in TERMINAL:
                assert time.monotonic() - began < _LONGEST_S, job
                await asyncio.sleep(_AGAIN_S)
                job = (await self._surely("GET", f"/v1/jobs/{job_id}")).json()
            seconds = time.monotonic() - began
            ended = Ended(order, job_id, job["status"], job["attempts"], seconds)
            ended.ends = await self._ends(job_id)
            ended.pictures = await self._pictures(job)
            return ended

    async def _ends(self, job_id: str) -> list[str]:
        events = await self._surely("GET", f"/v1/jobs/{job_id}/events")
        names = [line.partition(": ")[2] for line in events.text.splitlines() if "event: " in line]
        return [name for name in names if name in TERMINAL]

    async def _pictures(self, job: dict[str, Any]) -> str:
        digest = hashlib.sha256()
        for image in job["images"]:
            path = f"/v1/jobs/{job['id']}/images/{image['rank']}"
            digest.update((await self._surely("GET", path)).content)
        return digest.hexdigest() if job["images"] else ""

    async def _surely(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The answer, however often it takes while the service is away."""
        give_up = time.monotonic() + _LONGEST_S
        while True:
            try:
                answer = await self._http.request(method, path, **request)
                if answer.is_success:
                    return answer
                assert answer.status_code in (409, 429, 500, 503), answer.text
            except httpx.TransportError:
                pass
            assert time.monotonic() < give_up, f"{method} {path}: the service does not come back"
            await asyncio.sleep(_AGAIN_S)
