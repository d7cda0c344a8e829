"""Real servers that answer and yet don't do what they are asked, each in a trouble of its own.

Each is a context manager: given a folder, it gives the URL at which the trouble is met.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from tests.servers import RedisServer, free_port

Trouble = Callable[[Path], AbstractAsyncContextManager[str]]


@asynccontextmanager
async def _server(
    folder: Path, *options: str, kind: str = "redis"
) -> AsyncIterator[tuple[RedisServer, Redis]]:
    """A server with options of its own, and its operator's client."""
    folder.mkdir(parents=True)
    server = RedisServer(kind, folder, options=options)
    server.start()
    operator = Redis.from_url(server.url)
    try:
        yield server, operator
    finally:
        await operator.aclose()
        server.stop()


def _with(*options: str, kind: str = "redis") -> Trouble:
    @asynccontextmanager
    async def started(folder: Path) -> AsyncIterator[str]:
        async with _server(folder / "server", *options, kind=kind) as (server, _):
            yield server.url

    return started


def _as_user(rules: str) -> Trouble:
    """A user of these rights only."""

    @asynccontextmanager
    async def started(folder: Path) -> AsyncIterator[str]:
        async with _server(folder / "server") as (server, operator):
            command = ("ACL", "SETUSER", "small", "on", ">pw", *rules.split())
            await operator.execute_command(*command)  # type: ignore[no-untyped-call]  # untyped upstream
            yield server.url.replace("redis://", "redis://small:pw@")

    return started


@asynccontextmanager
async def full(folder: Path) -> AsyncIterator[str]:
    """With `maxmemory` reached."""
    async with _server(folder / "server") as (server, operator):
        await operator.config_set("maxmemory", 1)
        yield server.url


@asynccontextmanager
async def without_disk(folder: Path) -> AsyncIterator[str]:
    """It could not save, so that it stops taking writes."""
    async with _server(folder / "server") as (server, operator):
        await operator.config_set("save", "3600 1")
        shutil.rmtree(folder / "server")
        with suppress(RedisError):
            await operator.bgsave()
        async with asyncio.timeout(20):
            while (await operator.info("persistence"))["rdb_last_bgsave_status"] == "ok":
                await asyncio.sleep(0.02)
        yield server.url
        await operator.config_set("save", "")  # else it would not end


@asynccontextmanager
async def loading(folder: Path) -> AsyncIterator[str]:
    """In the middle of loading many keys."""
    options = ("--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024")
    async with _server(folder / "server", *options) as (server, operator):
        await operator.mset({f"filler{number}": "x" * 50 for number in range(20_000)})
        await operator.config_set("key-load-delay", 3000)  # a minute in all
        other = Redis.from_url(server.url, socket_timeout=None)
        reloading = asyncio.ensure_future(
            other.execute_command("DEBUG", "RELOAD")  # type: ignore[no-untyped-call]  # untyped upstream
        )
        async with asyncio.timeout(20):
            while not (await operator.info("persistence"))["loading"]:
                await asyncio.sleep(0.02)
        yield server.url
        await operator.config_set("key-load-delay", 0)
        await asyncio.wait({reloading})
        await other.aclose()


@asynccontextmanager
async def busy(folder: Path) -> AsyncIterator[str]:
    """Somebody's script runs and runs."""
    async with _server(folder / "server", "--busy-reply-threshold", "10") as (server, operator):
        other = Redis.from_url(server.url, socket_timeout=None)
        running: asyncio.Future[object]
        running = asyncio.ensure_future(other.eval("while true do end", 0))
        async with asyncio.timeout(20):
            while not await _is_refused(operator):
                await asyncio.sleep(0.02)
        yield server.url
        await operator.script_kill()
        await asyncio.wait({running})
        await other.aclose()


async def _is_refused(operator: Redis) -> bool:
    try:
        await operator.ping()
    except ResponseError:
        return True
    return False


@asynccontextmanager
async def elsewhere(folder: Path) -> AsyncIterator[str]:
    """A node of a cluster whose other node has all slots."""
    async with (
        _server(folder / "a", *_cluster(a_bus := free_port())) as (server, operator),
        _server(folder / "b", *_cluster(b_bus := free_port())) as (other, other_operator),
    ):
        await other_operator.cluster("ADDSLOTSRANGE", 0, 16383)
        await other_operator.cluster("MEET", "127.0.0.1", server.port, a_bus)
        await operator.cluster("MEET", "127.0.0.1", other.port, b_bus)
        async with asyncio.timeout(30):
            while "'cluster_state': 'ok'" not in str(await operator.cluster("INFO")):
                await asyncio.sleep(0.05)
        yield server.url


def _cluster(bus: int) -> tuple[str, ...]:
    return ("--cluster-enabled", "yes", "--cluster-port", str(bus))


@asynccontextmanager
async def cluster_without_slots(folder: Path) -> AsyncIterator[str]:
    """A cluster that nobody has set up."""
    async with _server(folder / "server", *_cluster(free_port())) as (server, _):
        yield server.url


@asynccontextmanager
async def crowded(folder: Path) -> AsyncIterator[str]:
    """As many clients as it takes."""
    async with _server(folder / "server", "--maxclients", "1") as (server, operator):
        await operator.ping()
        yield server.url


@asynccontextmanager
async def other_database(folder: Path) -> AsyncIterator[str]:
    """The URL names a database that the server has not."""
    async with _server(folder / "server", kind="valkey") as (server, _):
        yield server.url.removesuffix("/0") + "/99"


@asynccontextmanager
async def plain_where_tls_is_wanted(folder: Path) -> AsyncIterator[str]:
    """rediss:// to a server without TLS."""
    async with _server(folder / "server") as (server, _):
        yield server.url.replace("redis://", "rediss://")


@asynccontextmanager
async def untrusted(folder: Path) -> AsyncIterator[str]:
    """TLS with a certificate that nobody knows."""
    key, certificate, port = folder / "key.pem", folder / "cert.pem", free_port()
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=here"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    options: tuple[str, ...] = ("--tls-port", str(port), "--tls-auth-clients", "no")
    options += ("--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    async with _server(folder / "server", *options):
        yield f"rediss://127.0.0.1:{port}/0"


@asynccontextmanager
async def web_server(folder: Path) -> AsyncIterator[str]:
    """Something else listens there."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    server.close()


@asynccontextmanager
async def nobody(folder: Path) -> AsyncIterator[str]:
    """No server at all."""
    yield f"redis://127.0.0.1:{free_port()}/0"


@asynccontextmanager
async def no_such_host(folder: Path) -> AsyncIterator[str]:
    """A name that nothing has."""
    yield "redis://nowhere.invalid:6379/0"


@asynccontextmanager
async def wrong_password(folder: Path) -> AsyncIterator[str]:
    """The URL has another password than the server."""
    async with _server(folder / "server", kind="valkey") as (server, operator):
        await operator.config_set("requirepass", "right")
        yield server.url.replace("redis://", "redis://:wr0ng-s3cret@")


@asynccontextmanager
async def needless_password(folder: Path) -> AsyncIterator[str]:
    """The URL has a password and the server none: it accepts any user's."""
    async with _server(folder / "server") as (server, _):
        yield server.url.replace("redis://", "redis://somebody:s3cret@")


_NO_PRIMARY = ("--replicaof", "127.0.0.1 1")
# By the name of the fault: the troubles that must be recognised as it.
TROUBLES: dict[str, dict[str, Trouble]] = {
    "away": {
        "nobody": nobody,
        "no such host": no_such_host,
        "no tls": plain_where_tls_is_wanted,  # the server waits for more, and says nothing
    },
    "full": {"maxmemory": full},
    "read_only": {"replica": _with(*_NO_PRIMARY), "valkey": _with(*_NO_PRIMARY, kind="valkey")},
    "cut_off": {
        "no primary": _with(*_NO_PRIMARY, "--replica-serve-stale-data", "no"),
        "no replicas": _with("--min-replicas-to-write", "1"),
    },
    "disk": {"no folder": without_disk},
    "loading": {"many keys": loading},
    "busy": {"script": busy},
    "password": {
        "none": _with("--requirepass", "s3cret"),
        "wrong": wrong_password,
        "needless": needless_password,
    },
    "permission": {
        "channels": _as_user("~* +@all resetchannels"),
        "keys": _as_user("~other:* +@all &*"),
        "commands": _as_user("~* &* +@all -eval -evalsha"),
        "nothing": _as_user("+ping"),
    },
    "redirect": {"moved": elsewhere},
    "cluster_down": {"no slots": cluster_without_slots},
    "clients": {"maxclients": crowded},
    "tls": {"untrusted": untrusted},
    "database": {"99": other_database},
    "foreign": {"web server": web_server},
}
