"""Callers that send jobs whatever happens, cancel or leave some, and write down how each ended."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from service.jobs import TERMINAL
from tests.chaos.orders import Order

AT_ONCE = 10
_AGAIN_S = 0.2
_LEAVE_S = 0.25  # about as long as a job takes
_LONGEST_S = 600.0  # for one job, from the first attempt to send it


@dataclass(frozen=True)
class Ended:
    """How it ended: a status, the ends among its events, its pictures' digest."""

    order: Order
    job_id: str
    status: str
    attempts: int
    seconds: float
    ends: list[str]
    pictures: str


class Callers:
    """So many at once, on one service. `hook_url` is told how jobs go that have a webhook."""

    def __init__(self, url: str, run: str, hook_url: str = "") -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=20, trust_env=False)
        self._run = run
        self._hook_url = hook_url
        self.ended: list[Ended] = []
        self.num_left = 0

    async def send(self, orders: Iterator[Order]) -> list[Ended]:
        """All of them, to their ends; those that are left have none here."""
        async with self._http, asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._work(orders))
        return self.ended

    async def ends_of(self, job_ids: list[str]) -> list[tuple[str, list[str]]]:
        """Status and told ends of jobs that nobody here waited for, when they have ended."""
        async with self._http:
            followed = [await self._followed(job_id) for job_id in job_ids]
        return [(job["status"], ends) for job, ends in followed]

    async def _work(self, orders: Iterator[Order]) -> None:
        for order in orders:  # all take from the same
            if order.is_left:
                await self._leave(order)
            else:
                self.ended.append(await self._one(order))

    async def _leave(self, order: Order) -> None:
        self.num_left += 1
        body = order.body(self._hook_url)
        with suppress(httpx.TransportError):
            await self._http.post("/v1/images/generations", json=body, timeout=_LEAVE_S)

    async def _one(self, order: Order) -> Ended:
        began = time.monotonic()
        headers = {"idempotency-key": f"{self._run}-{order.number}"}
        body = order.body(self._hook_url)
        sent = await self._surely("POST", "/v1/jobs", json=body, headers=headers)
        job_id = sent.json()["id"]
        if order.is_cancelled:
            await self._surely("DELETE", f"/v1/jobs/{job_id}")
        job, ends = await self._followed(job_id)
        seconds = time.monotonic() - began
        pictures = await self._pictures(job)
        return Ended(order, job_id, job["status"], job["attempts"], seconds, ends, pictures)

    async def _followed(self, job_id: str) -> tuple[dict[str, Any], list[str]]:
        """The job when it has ended, and the ends among all its events, from the first."""
        give_up = time.monotonic() + _LONGEST_S
        while True:
            events = await self._surely("GET", f"/v1/jobs/{job_id}/events")  # until it ends
            job: dict[str, Any] = (await self._surely("GET", f"/v1/jobs/{job_id}")).json()
            if job["status"] in TERMINAL:
                return job, _ends_in(events.text)
            assert time.monotonic() < give_up, job
            await asyncio.sleep(_AGAIN_S)

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


def _ends_in(events: str) -> list[str]:
    names = [line.partition(": ")[2] for line in events.splitlines() if line.startswith("event: ")]
    return [name for name in names if name in TERMINAL]
