from __future__ import annotations

import asyncio
import logging
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import certifi
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis, SSLConnection
from redis.asyncio.sentinel import SentinelConnectionPool

from service.broker.redis_connection import backoff_s, check_server, connect, disconnect
from service.config.groups import RedisSettings
from service.errors import QueueUnavailable, StartRefused
from service.jobs import JobStatus
from tests.servers import RedisServer, binary, free_port
from tests.service.makers import claim_one, make_leases, make_queue, make_sweeper, put, success

Start = Callable[..., RedisServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers with options of their own."""
    servers: list[RedisServer] = []

    def run(kind: str = "valkey", *options: str, durable: bool = False) -> RedisServer:
        folder = tmp_path / f"server{len(servers)}"
        folder.mkdir()
        server = RedisServer(kind, folder, durable=durable, options=options)
        server.start()
        servers.append(server)
        return server

    yield run
    for server in servers:
        server.stop()


def settings(url: str, **changes: object) -> RedisSettings:
    return RedisSettings(url=SecretStr(url), **changes)


@asynccontextmanager
async def client(url: str, **changes: object) -> AsyncIterator[Redis]:
    redis = connect(settings(url, **changes))
    try:
        yield redis
    finally:
        await disconnect(redis)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://localhost", "scheme 'http'"),
        ("redis://localhost/zero", "not a number"),
        ("redis+sentinel://a:1/", "Sentinel's service"),
        ("redis+sentinel://a/mymaster", "not host:port"),
        ("redis+sentinel://a:1/mymaster/x", "not a number"),
        ("redis+sentinel://a:99999/mymaster", "not host:port"),
        ("redis://localhost/0?protocol=9", "an option that is none"),
    ],
)
def test_a_bad_url_stops_the_start(url: str, reason: str) -> None:
    with pytest.raises(StartRefused, match=f"MINDALLE_REDIS__URL.*{reason}"):
        connect(settings(url))


async def test_a_good_server_is_accepted(every_server: RedisServer) -> None:
    async with client(every_server.url) as redis:
        await check_server(redis)


async def test_a_server_that_evicts_is_refused(start: Start) -> None:
    server = start("valkey", "--maxmemory-policy", "allkeys-lru")
    async with client(server.url) as redis:
        with pytest.raises(StartRefused, match=r"allkeys-lru.*noeviction"):
            await check_server(redis)


async def test_the_policy_is_found_where_config_is_forbidden(start: Start) -> None:
    server = start("redis", "--rename-command", "CONFIG", "", "--maxmemory-policy", "volatile-ttl")
    async with client(server.url) as redis:
        with pytest.raises(StartRefused, match="volatile-ttl"):
            await check_server(redis)


async def test_a_server_that_tells_nothing_gets_a_warning(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    server = start("valkey")
    async with client(server.url) as redis:
        await redis.acl_setuser("default", commands=["-config", "-info"])
        with caplog.at_level(logging.WARNING):
            await check_server(redis)
    assert "noeviction" in caplog.text


async def test_a_password_is_needed_and_used(start: Start) -> None:
    server = start("valkey", "--requirepass", "p@ss/word")
    async with client(server.url) as redis:
        with pytest.raises(QueueUnavailable):
            await check_server(redis)
    url = f"redis://:p%40ss%2Fword@127.0.0.1:{server.port}/1"
    async with client(url) as redis:
        await check_server(redis)


async def test_tls_with_an_own_authority(start: Start, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=here"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key)]
    subprocess.run([*command, "-out", str(certificate)], check=True, capture_output=True)
    port = free_port()
    start("redis", "--tls-port", str(port), "--tls-auth-clients", "no", "--tls-cert-file",
          str(certificate), "--tls-key-file", str(key))  # fmt: skip
    url = f"rediss://127.0.0.1:{port}/0"
    async with client(url, ca_file=certificate) as redis:
        await check_server(redis)
    async with client(url) as redis:
        with pytest.raises(QueueUnavailable):
            await check_server(redis)


@contextmanager
def sentinel(folder: Path, master: RedisServer) -> Iterator[int]:
    """A Sentinel that watches `master` as `mymaster`; gives its port."""
    port = free_port()
    config = folder / "sentinel.conf"
    config.write_text(f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\n")
    command = [binary("redis"), str(config), "--sentinel", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    yield port
    process.terminate()
    process.wait(timeout=20)


async def test_sentinel_names_the_server(start: Start, tmp_path: Path) -> None:
    master = start("redis")
    with sentinel(tmp_path, master) as port:
        url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{port}/mymaster/0"
        async with client(url) as redis, asyncio.timeout(30):
            while True:  # until Sentinel is up and knows the master
                try:
                    await check_server(redis)
                    break
                except QueueUnavailable:
                    await asyncio.sleep(0.1)
            queue, leases = make_queue(redis), make_leases(redis)
            job = await put(queue)
            await leases.finish(await claim_one(leases), success())
            assert (await queue.get(job.id)).status is JobStatus.SUCCEEDED


async def test_all_keys_may_live_on_one_node_of_a_cluster(start: Start) -> None:
    bus = ("--cluster-port", str(free_port()))  # the usual one, +10000, may be out of range
    server = start("redis", "--cluster-enabled", "yes", *bus)
    async with client(server.url) as redis, asyncio.timeout(30):
        await redis.cluster("ADDSLOTSRANGE", 0, 16383)
        while "'cluster_state': 'ok'" not in str(await redis.cluster("INFO")):
            await asyncio.sleep(0.05)
        queue, leases = make_queue(redis), make_leases(redis)
        jobs = [await put(queue) for _ in range(3)]
        await leases.crashed(await claim_one(leases), "boom")
        await leases.release(await claim_one(leases))
        await queue.cancel(jobs[2].id)
        for _ in range(2):
            assert await leases.finish(await claim_one(leases), success())
        await make_sweeper(redis).sweep()
        assert [event.name async for event in queue.events(jobs[0].id)][-1] == "succeeded"


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_nothing_accepted_is_lost_when_redis_dies(start: Start, kind: str) -> None:
    server = start(kind, durable=True)
    async with client(server.url) as redis, asyncio.timeout(50):
        queue, leases = make_queue(redis), make_leases(redis)
        await queue.start()
        running, waiting = await put(queue), await put(queue)
        claim = await claim_one(leases)
        waiters = [asyncio.create_task(queue.wait(job.id, 40)) for job in (running, waiting)]
        events = queue.events(running.id)
        assert (await anext(events)).name == "queued"

        server.kill()
        with pytest.raises(QueueUnavailable):
            await queue.get(running.id)
        with pytest.raises(QueueUnavailable):
            await leases.finish(claim, success())
        server.start()

        assert await leases.finish(claim, success(b"kept"))
        assert await leases.finish(await claim_one(leases), success())
        assert [view.status for view in await asyncio.gather(*waiters)] == ["succeeded"] * 2
        assert [event.name async for event in events] == ["started", "succeeded"]
        assert await queue.image(running.id, 0) == b"kept0"
        assert (await make_sweeper(redis).sweep()).redelivered == 0
        await queue.close()


async def test_a_frozen_redis_does_not_hold_callers_up(start: Start) -> None:
    server = start("valkey")
    async with client(server.url, timeout_s=2) as redis:
        queue = make_queue(redis)
        job = await put(queue)
        with server.frozen():
            async with asyncio.timeout(20):
                with pytest.raises(QueueUnavailable):
                    await queue.get(job.id)
        assert (await queue.get(job.id)).status is JobStatus.QUEUED


async def test_the_subscription_comes_back(start: Start) -> None:
    server = start("valkey", durable=True)
    async with client(server.url) as redis, asyncio.timeout(50):
        queue = make_queue(redis)
        heard = make_leases(redis).cancellations()
        first = asyncio.create_task(anext(heard))
        server.kill()
        server.start()
        while not first.done():  # a message that nobody hears is lost, so cancel until one is
            job = await put(queue)
            await claim_one(make_leases(redis))
            await queue.cancel(job.id)
            await asyncio.sleep(0.05)
        assert (await first).startswith("job_")
        await heard.aclose()


def test_backoff_grows_to_its_cap() -> None:
    assert 0.05 <= backoff_s(0) <= 0.1
    assert all(2.5 <= backoff_s(failures) <= 5.0 for failures in range(6, 60))


async def test_sentinels_are_spoken_to_by_tls_as_their_server_is() -> None:
    ca_file = Path(certifi.where())
    url = SecretStr("rediss+sentinel://a:1,b:2/mymaster?sentinel_password=hush")
    redis = connect(RedisSettings(url=url, ca_file=ca_file))
    pool = redis.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    for watcher in pool.sentinel_manager.sentinels:
        assert watcher.connection_pool.connection_class is SSLConnection
        options = watcher.connection_pool.connection_kwargs
        assert options["ssl_ca_certs"] == str(ca_file)
        assert options["password"] == "hush"
    await disconnect(redis)
