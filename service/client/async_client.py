"""A client of this service for asyncio.

It waits, streams and cancels, and repeats calls when the server's headers say so. Leaving a
`generate` or a `stream` early cancels the job on the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Self, Unpack

import httpx

from service.answers.job_answer import JobAnswer
from service.answers.model_answers import ModelAnswer, ModelList
from service.client.address import connect
from service.client.protocol import (
    JOBS,
    MODELS,
    STREAM_SILENCE_S,
    ApiError,
    EventParser,
    Generated,
    JobEvent,
    JobParameters,
    Parameters,
    Partial,
    Retries,
    body_of,
    generated,
    headers_of,
    idempotent,
    path_of,
    picture,
    resume_from,
    understood,
)
from service.config.groups import API_PORT
from service.jobs import Image

LOCAL = f"http://127.0.0.1:{API_PORT}"
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=64)
_EVENTS = "text/event-stream"
_STREAM_TIMEOUT = httpx.Timeout(10.0, read=STREAM_SILENCE_S)


class AsyncClient:
    """Close it, or use it in an `async with` block.

    Every method raises ApiError for an error that the server sent, and httpx.TransportError when
    there is no server to talk to, both after `max_retries` repetitions where these make sense. To
    leave a `stream` early, close the generator (`contextlib.aclosing`). ValueError for an address
    that is none.
    """

    def __init__(
        self,
        url: str = LOCAL,
        api_key: str | None = None,
        *,
        max_retries: int = 3,
        timeout_s: float = 600.0,
    ) -> None:
        self._http = connect(
            url,
            headers=headers_of(api_key),
            limits=_LIMITS,
            timeout=httpx.Timeout(timeout_s, connect=10.0),
        )
        self._max_retries = max_retries

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def generate(
        self, prompt: str | int | None, **parameters: Unpack[Parameters]
    ) -> Generated:
        """Images for a prompt, when they are ready."""
        body = body_of(prompt, parameters, response_format="b64_json")
        return understood(await self._call("POST", path_of(body), json=body), generated)

    async def stream(
        self, prompt: str | int | None, **parameters: Unpack[Parameters]
    ) -> AsyncGenerator[Partial | Image, None]:
        """Unfinished pictures as they grow (`partial_images` of them), then the images.

        A connection that is lost after the first of them is not tried again.
        """
        body = body_of(prompt, parameters, stream=True)
        async with aclosing(self._lasting("POST", path_of(body), json=body)) as events:
            async for event in events:
                yield picture(event)

    async def submit(
        self,
        prompt: str | int | None,
        *,
        idempotency_key: str | None = None,
        **parameters: Unpack[JobParameters],
    ) -> JobAnswer:
        """Queue a job and return at once. With the same key twice, the same job.

        ValueError for a key that no header can carry.
        """
        headers, body = idempotent(idempotency_key), body_of(prompt, parameters)
        return understood(await self._call("POST", JOBS, json=body, headers=headers), _job)

    async def job(self, job_id: str) -> JobAnswer:
        """The job as it stands."""
        return understood(await self._call("GET", f"{JOBS}/{job_id}"), _job)

    async def cancel(self, job_id: str) -> JobAnswer:
        """Cancel the job; one that has ended stays as it is."""
        return understood(await self._call("DELETE", f"{JOBS}/{job_id}"), _job)

    async def image(self, job_id: str, rank: int = 0, **view: str | int) -> bytes:
        """File bytes of an image of a job that has succeeded, or of one of its views: depth=1."""
        return (await self._call("GET", f"{JOBS}/{job_id}/images/{rank}", params=view)).content

    async def models(self) -> list[ModelAnswer]:
        """What the server can draw with now."""
        return understood(await self._call("GET", MODELS), _models)

    def follow(self, job_id: str) -> AsyncGenerator[JobEvent, None]:
        """The job's events to its end, each once, also over lost connections."""
        return self._lasting("GET", f"{JOBS}/{job_id}/events")

    async def wait(self, job_id: str) -> JobAnswer:
        """The job when it has ended, however it ended: look at `status`."""
        last = None
        async for event in self.follow(job_id):
            last = event
        if last is not None and last.is_last:
            return JobAnswer.model_validate(last.data)
        return await self.job(job_id)

    async def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        retries = Retries(self._max_retries)
        while True:
            failure: httpx.Response | httpx.TransportError
            try:
                failure = await self._http.request(method, path, **options)
                if failure.is_success:
                    return failure
            except httpx.TransportError as error:
                failure = error
            await asyncio.sleep(retries.delay_after(failure))

    async def _lasting(
        self, method: str, path: str, **options: Any
    ) -> AsyncGenerator[JobEvent, None]:
        """Events over as many connections as it takes, where they have ids to go on from."""
        retries, last_id = Retries(self._max_retries), None
        has_begun = False
        while True:
            try:
                options["headers"] = resume_from(last_id)
                async with aclosing(self._events(method, path, **options)) as events:
                    async for event in events:
                        retries.reset()
                        has_begun, last_id = True, event.id
                        yield event
                return
            except httpx.TransportError as error:
                if has_begun and last_id is None:
                    raise
                await asyncio.sleep(retries.delay_after(error))

    async def _events(
        self, method: str, path: str, **options: Any
    ) -> AsyncGenerator[JobEvent, None]:
        retries, parser = Retries(self._max_retries), EventParser()
        while True:
            async with self._http.stream(
                method, path, timeout=_STREAM_TIMEOUT, **options
            ) as answer:
                if answer.is_success:
                    if not answer.headers.get("content-type", _EVENTS).startswith(_EVENTS):
                        raise ApiError.foreign(answer)
                    is_over = method == "POST" or answer.status_code == 204
                    async for line in answer.aiter_lines():
                        event = parser.feed(line)
                        if event is not None:
                            is_over = is_over or event.is_last
                            yield event
                    if not is_over:  # a server that closes lets go of those who follow a job
                        raise httpx.RemoteProtocolError("the events ended before their job")
                    return
                await answer.aread()
            await asyncio.sleep(retries.delay_after(answer))


def _job(response: httpx.Response) -> JobAnswer:
    return JobAnswer.model_validate_json(response.content)


def _models(response: httpx.Response) -> list[ModelAnswer]:
    return ModelList.model_validate_json(response.content).data
