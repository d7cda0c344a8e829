from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

import httpx
import pytest
from pydantic import SecretStr

from service.answers.job_answer import JobAnswer
from service.client import ApiError, AsyncClient, Client, Partial
from service.jobs import Image
from tests.servers import RedisServer
from tests.service.files import file_of, mask_of, noise, square_hole
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.live_worker import until
from tests.service.painter import FAILING_PROMPT, Painter, paint
from tests.stores import KINDS

T = TypeVar("T")


@pytest.fixture
async def client(api: LiveApi) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(api.url) as opened:
        yield opened


async def _blocking(url: str, call: Callable[[Client], T]) -> T:
    """Use the synchronous client on a thread, while this loop serves."""

    def use() -> T:
        with Client(url) as opened:
            return call(opened)

    return await asyncio.to_thread(use)


def _unsigned(job: JobAnswer) -> JobAnswer:
    """The answer without what signs its addresses: a store signs anew each second."""
    images = [image.model_copy(update={"url": image.url.partition("?")[0]}) for image in job.images]
    return job.model_copy(update={"images": images})


async def test_generate(client: AsyncClient, api: LiveApi, painter: Painter) -> None:
    made = await client.generate("a cat", n=2, seed=4)
    assert [image.data for image in made.images] == [
        paint(painter.started[0], rank) for rank in range(2)
    ]
    assert (made.seed, made.size, made.model) == (4, "32x32", "tiny")
    again = await _blocking(api.url, lambda c: c.generate("a cat", n=2, seed=4))
    assert again.images == made.images
    assert again.job_id != made.job_id


async def test_pictures_are_sent_as_they_are(client: AsyncClient, painter: Painter) -> None:
    sent = {"image": file_of(noise()), "mask": mask_of(square_hole())}
    made = await client.generate("a hat", n=1, blend=False, **sent)  # type: ignore[arg-type]  # two of the fields
    events = [event async for event in client.stream("a hat", partial_images=1, n=1, **sent)]  # type: ignore[arg-type]  # as above
    assert [type(event) for event in events] == [Partial, Image]
    job = await client.submit("a hat", keep=0.25, image=sent["image"])
    assert job.source is not None
    assert job.source.keep == 0.25
    sources = [job.recipe.source for job in painter.started[:2]]
    assert [source.blend for source in sources if source] == [False, True]
    assert made.seed == painter.started[0].recipe.seed


async def test_stream(client: AsyncClient, api: LiveApi, painter: Painter) -> None:
    pictures = [picture async for picture in client.stream("a cat", partial_images=2, n=2)]
    assert [type(picture) for picture in pictures] == [Partial, Partial, Image, Image]
    assert pictures[2].data == paint(painter.started[0], 0)
    blocking = await _blocking(api.url, lambda c: list(c.stream("a cat", partial_images=2, n=2)))
    assert [type(picture) for picture in blocking] == [Partial, Partial, Image, Image]


async def test_a_stream_that_is_left_cancels_its_job(client: AsyncClient, painter: Painter) -> None:
    painter.gate.clear()
    async with aclosing(client.stream("a cat", partial_images=1)) as pictures:
        assert isinstance(await anext(pictures), Partial)
    await until(lambda: painter.evicted)


async def test_a_blocking_stream_that_is_left_cancels_its_job(
    api: LiveApi, painter: Painter
) -> None:
    painter.gate.clear()

    def look(blocking: Client) -> None:
        pictures = blocking.stream("a cat", partial_images=1)
        assert isinstance(next(pictures), Partial)
        pictures.close()  # as leaving a loop does

    await _blocking(api.url, look)
    await until(lambda: painter.evicted)


async def test_closing_ends_a_stream_that_is_still_held(
    api: LiveApi, painter: Painter, caplog: pytest.LogCaptureFixture
) -> None:
    painter.gate.clear()

    def look() -> None:
        with Client(api.url, max_retries=0) as client:
            pictures = client.stream("a cat", partial_images=2)
            assert isinstance(next(pictures), Partial)
        with pytest.raises(RuntimeError, match="this client is closed"):
            next(pictures)
        with pytest.raises(RuntimeError, match="this client is closed"):
            client.generate("a cat")

    await asyncio.to_thread(look)
    await until(lambda: painter.evicted)
    assert [line.message for line in caplog.records if line.name == "asyncio"] == []


async def test_the_blocking_client_works_where_a_loop_runs() -> None:
    with Client("http://127.0.0.1:1", max_retries=0) as client, pytest.raises(httpx.ConnectError):
        client.models()


PARTIAL = (
    b"event: image_generation.partial_image\n"
    b'data: {"b64_json": "", "partial_image_index": 0, "candidate": 0}\n\n'
)
COMPLETED = (
    b"event: image_generation.completed\n"
    b'data: {"b64_json": "", "rank": 0, "candidate": 0, "score": 0.5}\n\n'
)


@asynccontextmanager
async def _breaking(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that sends one of these events to each caller in turn, and then breaks the line."""
    sent: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
        event = answers[len(sent) % len(answers)]
        sent.append(event)
        if event:
            writer.write(head % (len(event) + (event == PARTIAL)) + event)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", sent


async def test_a_stream_is_asked_for_again_when_the_line_breaks_before_it_begins() -> None:
    async with _breaking(b"", COMPLETED) as (url, sent):
        async with AsyncClient(url) as client:
            assert [type(picture) async for picture in client.stream("a cat")] == [Image]
        pictures = await _blocking(url, lambda c: list(c.stream("a cat")))
        assert [type(picture) for picture in pictures] == [Image]
    assert sent == 2 * [b"", COMPLETED]


async def test_a_stream_that_has_begun_is_not_asked_for_again() -> None:
    async with _breaking(PARTIAL) as (url, sent):
        async with AsyncClient(url) as client:
            with pytest.raises(httpx.TransportError):
                assert [picture async for picture in client.stream("a cat")]
        with pytest.raises(httpx.TransportError):
            await _blocking(url, lambda c: list(c.stream("a cat")))
    assert sent == 2 * [PARTIAL]


async def test_a_job_is_followed_further_where_a_server_lets_go_of_it(
    client: AsyncClient, api: LiveApi, painter: Painter
) -> None:
    painter.gate.clear()
    job, names = await client.submit("a cat"), []
    async for event in client.follow(job.id):
        names.append(event.name)
        if event.name == "started":
            api.state.closing.set()
            asyncio.get_running_loop().call_later(0.2, _open_again, api, painter)
    assert (names[0], names[-1]) == ("queued", "succeeded")
    assert names.count("started") == 1


def _open_again(api: LiveApi, painter: Painter) -> None:
    api.state.closing.clear()
    painter.gate.set()


@pytest.mark.parametrize("results", KINDS, indirect=True)
async def test_submit_wait_image(client: AsyncClient, api: LiveApi, painter: Painter) -> None:
    job = await client.submit("a cat", seed=1)
    ended = await client.wait(job.id)
    assert ended.status == "succeeded"
    assert _unsigned(ended) == _unsigned(await client.job(job.id))
    assert await client.image(job.id) == paint(painter.started[0], 0)

    def use(blocking: Client) -> tuple[bytes, bytes]:
        other = blocking.submit("a cat", seed=1)
        assert _unsigned(blocking.wait(other.id)) == _unsigned(blocking.job(other.id))
        return blocking.image(job.id), blocking.image(other.id)

    first, second = await _blocking(api.url, use)
    assert first == second


async def test_the_same_key_gives_the_same_job(client: AsyncClient, painter: Painter) -> None:
    jobs = [await client.submit("a cat", idempotency_key="k") for _ in range(2)]
    assert jobs[0].id == jobs[1].id


async def test_cancel(client: AsyncClient, api: LiveApi, painter: Painter) -> None:
    painter.gate.clear()
    job = await client.submit("a cat")
    assert (await client.cancel(job.id)).status == "cancelled"
    assert (await client.wait(job.id)).status == "cancelled"
    again = await _blocking(api.url, lambda c: c.cancel(job.id))
    assert again.status == "cancelled"


async def test_models(client: AsyncClient, api: LiveApi, painter: Painter) -> None:
    assert [model.id for model in await client.models()] == ["tiny"]
    assert [model.id for model in await _blocking(api.url, Client.models)] == ["tiny"]


async def test_errors_carry_what_the_server_said(client: AsyncClient, painter: Painter) -> None:
    with pytest.raises(ApiError, match="top_k") as caught:
        await client.generate("a cat", top_k=0)
    error = caught.value
    assert (error.status, error.param, error.code) == (400, "top_k", "invalid_value")
    assert str(error.request_id).startswith("req_")
    with pytest.raises(ApiError) as caught:
        async for _ in client.stream(FAILING_PROMPT):
            pass
    assert (caught.value.status, caught.value.code) == (None, "model_error")


async def test_an_api_key_is_sent(painter: Painter, valkey_server: RedisServer) -> None:
    settings = api_settings(valkey_server, api_keys=SecretStr("alice:key-one-1"))
    async with serving(settings) as api, AsyncClient(api.url, "key-one-1") as client:
        assert (await client.generate("a cat")).images
        async with AsyncClient(api.url, "two") as stranger:
            with pytest.raises(ApiError) as caught:
                await stranger.generate("a cat")
            assert caught.value.status == 401


async def test_a_busy_server_is_asked_again_when_it_says(
    painter: Painter, valkey_server: RedisServer
) -> None:
    settings = api_settings(valkey_server, queue={"key_rate_per_s": 0.5, "key_burst": 1})
    async with serving(settings) as api, AsyncClient(api.url) as client:
        both = await asyncio.gather(client.submit("first"), client.submit("second"))
        assert {job.status for job in both} <= {"queued", "running", "succeeded"}
        sample = 'mindalle_jobs_rejected_total{model="tiny",reason="rate_limit_exceeded"}'
        assert await api.metric(sample) >= 1.0


async def test_no_server_is_an_error_of_the_transport() -> None:
    async with AsyncClient("http://127.0.0.1:1", max_retries=1) as client:
        with pytest.raises(httpx.ConnectError):
            await client.models()
