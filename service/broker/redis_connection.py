"""How to reach Redis: one URL for a single server, TLS, or Sentinel; and is that server fit for us.

Also turns Redis failures into QueueUnavailable, for all who call it. Knows nothing of what is
stored there.
"""

from __future__ import annotations

import logging
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import FullJitterBackoff
from redis.exceptions import ConnectionError, RedisError, ResponseError

from service.broker.keys import Key
from service.broker.redis_faults import fault_of
from service.config.groups import RedisSettings
from service.config.redis_url import split_redis_url
from service.errors import QueueUnavailable, StartRefused

_log = logging.getLogger(__name__)

_OLDEST = (7, 0)
_LAST_PORT = 65_535
_SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")


def connect(settings: RedisSettings) -> Redis:
    """A client for `settings.url`; connects at the first command. StartRefused for a bad URL."""
    try:
        url = split_redis_url(settings.url.get_secret_value())
        if url.scheme not in _SCHEMES:
            raise ValueError(f"scheme {url.scheme!r} is none of {', '.join(_SCHEMES)}")
        if url.scheme.endswith("+sentinel"):
            return _connect_sentinel(url, settings)
        return _connect_single(url, settings)
    except ValueError as error:
        raise StartRefused(f"MINDALLE_REDIS__URL: {error}") from None


def _options(url: SplitResult, settings: RedisSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.connect_timeout_s,
        "socket_keepalive": True,
        "health_check_interval": 15,
        # Once more on a new connection, since a restarted server has closed the old ones; a
        # server that does not answer in time is not asked twice.
        "retry": Retry(FullJitterBackoff(cap=0.2, base=0.02), 1, (ConnectionError,)),
        "retry_on_error": [ConnectionError],
    }
    if url.username:
        options["username"] = unquote(url.username)
    if url.password:
        options["password"] = unquote(url.password)
    if url.scheme.startswith("rediss") and settings.ca_file is not None:
        options["ssl_ca_certs"] = str(settings.ca_file)
        _check_certificates(settings.ca_file)
    return options


def _check_certificates(path: Path) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise StartRefused(f"MINDALLE_REDIS__CA_FILE: {path} holds no certificate") from None
    except OSError as error:
        raise StartRefused(f"MINDALLE_REDIS__CA_FILE: {path}: {error.strerror}") from None


def _database(path: str) -> int:
    if path and not path.isdecimal():
        raise ValueError(f"the database {path!r} is not a number")
    return int(path or 0)


def _connect_single(url: SplitResult, settings: RedisSettings) -> Redis:
    options = _options(url, settings)
    _database(url.path.strip("/"))
    pool = BlockingConnectionPool.from_url(
        url.geturl(),
        max_connections=settings.max_connections,
        timeout=settings.timeout_s,
        **options,
    )
    try:
        pool.connection_class(**pool.connection_kwargs)  # connects to nothing yet
    except (TypeError, RedisError) as error:
        raise ValueError(f"the query has an option that is none: {error}") from None
    return Redis.from_pool(pool)


def _connect_sentinel(url: SplitResult, settings: RedisSettings) -> Redis:
    service, _, database = url.path.strip("/").partition("/")
    if not service:
        raise ValueError("the path must name the Sentinel's service: /mymaster/0")
    options = _options(url, settings)
    secure: dict[str, Any] = {}
    if url.scheme.startswith("rediss"):
        secure = {name: value for name, value in options.items() if name.startswith("ssl")}
        secure["ssl"] = True
    options |= secure
    hosts = [_host_port(part) for part in url.netloc.rpartition("@")[2].split(",")]
    query = dict(parse_qsl(url.query))
    guard: dict[str, Any] = {
        "socket_timeout": settings.connect_timeout_s,
        "username": query.get("sentinel_username"),
        "password": query.get("sentinel_password"),
        **secure,
    }
    sentinel = Sentinel(hosts, sentinel_kwargs=guard, **options)  # type: ignore[no-untyped-call]  # untyped upstream
    client: Redis = sentinel.master_for(
        service, db=_database(database), max_connections=settings.max_connections
    )
    return client


async def disconnect(redis: Redis) -> None:
    """Close the client, and with Sentinel its connections to the Sentinels, too."""
    await redis.aclose()
    pool = redis.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        for watcher in pool.sentinel_manager.sentinels:
            await watcher.aclose()


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _LAST_PORT:
        raise ValueError(f"{text!r} is not host:port")
    return host.strip("[]"), int(port)


@asynccontextmanager
async def translated_errors() -> AsyncIterator[None]:
    """QueueUnavailable, which says why, in place of whatever Redis raises when it is away or
    refuses; redis-py's own error where the fault is ours.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        fault = fault_of(error)
        if fault is None:
            raise
        _log.debug("redis: %s: %s", fault.name, error)
        raise QueueUnavailable(fault.message, fault.code) from error


async def check_writes(redis: Redis) -> None:
    """QueueUnavailable when Redis would refuse to take a job; changes nothing."""
    async with translated_errors():
        await redis.set(Key.PROBE.of(), "", xx=True, px=1)


async def check_server(redis: Redis) -> None:
    """StartRefused when the server evicts keys or is too old; a warning where it won't say.

    QueueUnavailable when it does not answer.
    """
    async with translated_errors():
        version = await _info(redis, "server", "redis_version")
        policy = await _policy(redis)
    if version is not None and tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        raise StartRefused(f"Redis {version} is too old; 7.0 or newer is needed")
    if policy is None:
        _log.warning("Redis does not tell its maxmemory-policy; it must be noeviction")
    elif policy != "noeviction":
        raise StartRefused(
            f"Redis has maxmemory-policy {policy}, so it may drop jobs; set it to noeviction"
        )


async def _policy(redis: Redis) -> str | None:
    """From CONFIG, else from INFO (hosted servers forbid CONFIG), else None."""
    try:
        config: dict[Any, Any] = await redis.config_get("maxmemory-policy")
        if "maxmemory-policy" in config:
            return str(config["maxmemory-policy"])
    except ResponseError:
        _log.debug("CONFIG GET is not allowed here")
    return await _info(redis, "memory", "maxmemory_policy")


async def _info(redis: Redis, section: str, name: str) -> str | None:
    try:
        values: dict[str, Any] = await redis.info(section)
    except ResponseError:
        return None
    return str(values[name]) if name in values else None


def backoff_s(failures: int, cap_s: float = 5.0, first_s: float = 0.2) -> float:
    """Seconds to wait after so many failures in a row: doubling, capped, with jitter of a half."""
    ceiling = min(cap_s, first_s * 2 ** min(failures - 1, 20))
    return random.uniform(ceiling / 2, ceiling)
