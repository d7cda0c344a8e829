"""The client for code that blocks: the calls of the asynchronous one, made on a thread of its own.

So there is one client, and it can be used where an event loop runs already, as in a notebook.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import suppress
from typing import Any, Self, TypeVar, Unpack

from service.answers.job_answer import JobAnswer
from service.answers.model_answers import ModelAnswer
from service.client.async_client import LOCAL, AsyncClient
from service.client.protocol import Generated, JobEvent, JobParameters, Parameters, Partial
from service.jobs import Image

_T = TypeVar("_T")
_LEFT_S = 2.0  # for what was left early, when the client is closed


class Client:
    """Calls that block, and raise as AsyncClient's do. Close it, or use it in a `with` block.

    RuntimeError for a call of one that is closed; closing ends its streams.
    """

    def __init__(
        self,
        url: str = LOCAL,
        api_key: str | None = None,
        *,
        max_retries: int = 3,
        timeout_s: float = 600.0,
    ) -> None:
        self._calls = AsyncClient(url, api_key, max_retries=max_retries, timeout_s=timeout_s)
        self._open: set[AsyncGenerator[object, None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="mindalle client", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._loop.is_closed():
            return
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def generate(self, prompt: str | int | None, **parameters: Unpack[Parameters]) -> Generated:
        """Images for a prompt, when they are ready."""
        return self._run(self._calls.generate(prompt, **parameters))

    def stream(
        self, prompt: str | int | None, **parameters: Unpack[Parameters]
    ) -> Generator[Partial | Image, None, None]:
        """Unfinished pictures as they grow (`partial_images` of them), then the images.

        A connection that is lost after the first of them is not tried again.
        """
        return self._each(self._calls.stream(prompt, **parameters))

    def submit(
        self,
        prompt: str | int | None,
        *,
        idempotency_key: str | None = None,
        **parameters: Unpack[JobParameters],
    ) -> JobAnswer:
        """Queue a job and return at once. With the same key twice, the same job."""
        return self._run(self._calls.submit(prompt, idempotency_key=idempotency_key, **parameters))

    def job(self, job_id: str) -> JobAnswer:
        """The job as it stands."""
        return self._run(self._calls.job(job_id))

    def cancel(self, job_id: str) -> JobAnswer:
        """Cancel the job; one that has ended stays as it is."""
        return self._run(self._calls.cancel(job_id))

    def image(self, job_id: str, rank: int = 0, **view: str | int) -> bytes:
        """File bytes of an image of a job that has succeeded, or of one of its views: depth=1."""
        return self._run(self._calls.image(job_id, rank, **view))

    def models(self) -> list[ModelAnswer]:
        """What the server can draw with now."""
        return self._run(self._calls.models())

    def follow(self, job_id: str) -> Generator[JobEvent, None, None]:
        """The job's events to its end, each once, also over lost connections."""
        return self._each(self._calls.follow(job_id))

    def wait(self, job_id: str) -> JobAnswer:
        """The job when it has ended, however it ended: look at `status`."""
        return self._run(self._calls.wait(job_id))

    async def _end(self) -> None:
        """Close streams and connections, and what calls that were left early have to put away."""
        for items in tuple(self._open):
            with suppress(RuntimeError):  # another thread reads it just now
                await items.aclose()
        await self._calls.aclose()
        await self._loop.shutdown_asyncgens()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            await asyncio.wait(left, timeout=_LEFT_S)

    def _run(self, call: Coroutine[Any, Any, _T]) -> _T:
        if self._loop.is_closed():
            call.close()
            raise RuntimeError("this client is closed")
        running = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return running.result()
        finally:
            running.cancel()  # where Ctrl-C ended the wait: so the server learns of it

    def _each(self, items: AsyncGenerator[_T, None]) -> Generator[_T, None, None]:
        self._open.add(items)
        try:
            while (item := self._run(_next(items))) is not None:
                yield item
        finally:
            self._open.discard(items)
            if not self._loop.is_closed():
                self._run(items.aclose())


async def _next(items: AsyncGenerator[_T, None]) -> _T | None:
    return await anext(items, None)
