"""Looks at what a start needs and says what to do where something is missing: `mindalle doctor`.

Changes nothing, but for one small file in a store of results, which it removes again. Redis, ports,
API keys and that store are looked at here; weights and the device in model.py, which needs torch.
"""

from __future__ import annotations

import importlib.util
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from service.broker.keys import ROUTE, Key
from service.broker.redis_connection import (
    check_server,
    check_writes,
    connect,
    disconnect,
    translated_errors,
)
from service.broker.redis_faults import AWAY, FAULT_OF_CODE, PERMISSION
from service.broker.scripts import commands
from service.config.listening import at_fault
from service.doctor.finding import Finding
from service.errors import QueueUnavailable, ResultsUnavailable, StartRefused
from service.local.ports import probe, url_of
from service.settings import Settings, is_loopback
from service.store.object_store import in_one_line, open_store

_FULL = 0.8  # of Redis's memory limit
# Which of some commands this user may not call on our keys; inside of a script each is asked for.
_DENIED = """
local denied = {}
for _, name in ipairs(ARGV) do
  local call = {}
  for word in string.gmatch(name, '%S+') do table.insert(call, word) end
  table.insert(call, KEYS[1])
  if not redis.acl_check_cmd(unpack(call)) then table.insert(denied, name) end
end
return denied
"""


async def examine(settings: Settings) -> list[Finding]:
    """Everything, one after the other; nothing that is wrong raises."""
    findings = [access(settings)]
    findings += ports(settings)
    findings += await redis_server(settings)
    findings.append(await result_store(settings))
    findings += model(settings)
    return findings


def access(settings: Settings) -> Finding:
    """Who may call the API."""
    num_keys, host = len(settings.keys()), settings.api.host
    if settings.needs_key and num_keys == 0:
        return Finding(
            "access",
            "problem",
            f"{host} can be reached from elsewhere, and there is no API key: all calls get 401",
            "set MINDALLE_API_KEYS, or MINDALLE_AUTH=off where nobody else can reach it",
        )
    if not settings.needs_key and not is_loopback(host):
        return Finding(
            "access",
            "warning",
            f"whoever reaches {host} may call the API",
            "set MINDALLE_API_KEYS and MINDALLE_AUTH=required unless a proxy asks for keys",
        )
    found = f"{num_keys} API keys" if num_keys else f"no API key is needed on {host}"
    return Finding("access", "ok", found)


def ports(settings: Settings) -> Iterator[Finding]:
    """Whether the API and the worker could listen."""
    api, worker = settings.api, settings.worker
    yield _port("API port", "MINDALLE_API__", api.host, api.port)
    if worker.metrics_port:
        yield _port(
            "metrics port", "MINDALLE_WORKER__METRICS_", worker.metrics_host, worker.metrics_port
        )


def _port(about: str, names: str, host: str, port: int) -> Finding:
    try:
        probe(host, port)
    except OSError as error:
        if _is_ours(host, port):
            return Finding(about, "ok", f"{host}:{port} answers: it runs already")
        variable = at_fault(names, error)
        advice = f"correct {variable}: an address of this machine, such as 127.0.0.1 or ::"
        if variable.endswith("PORT"):
            advice = f"end what uses it, or set {variable}"
        found = f"can't listen on {host}:{port}: {error.strerror}"
        return Finding(about, "problem", found, advice)
    return Finding(about, "ok", f"{host}:{port} is free")


def _is_ours(host: str, port: int) -> bool:
    try:
        answer = httpx.get(f"{url_of(host, port)}/metrics", timeout=3, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return "mindalle_build_info" in answer.text


async def redis_server(settings: Settings) -> list[Finding]:
    """Version, policy, persistence and memory of the server."""
    try:
        redis = connect(settings.redis)
    except StartRefused as error:
        return [Finding("Redis", "problem", str(error), "correct the URL")]
    try:
        await check_server(redis)
        async with translated_errors():
            return [finding async for finding in _about(redis)]
    except StartRefused as error:
        advice = "CONFIG SET maxmemory-policy noeviction; Redis or Valkey 7.0 or later"
        return [Finding("Redis", "problem", str(error), advice)]
    except QueueUnavailable as error:
        return [_fault(settings, error)]
    finally:
        await disconnect(redis)


def _fault(settings: Settings, error: QueueUnavailable) -> Finding:
    fault = FAULT_OF_CODE[error.code]
    if fault is AWAY and "url" not in settings.redis.model_fields_set:
        advice = "`mindalle serve` brings its own; for api and worker set MINDALLE_REDIS__URL"
        return Finding("Redis", "warning", "none answers at the default address", advice)
    return Finding("Redis", "problem", f"{fault.found}: {error.__cause__}", fault.advice)


async def _about(redis: Redis) -> AsyncIterator[Finding]:
    try:
        info: dict[str, Any] = await redis.info()
    except NoPermissionError:
        yield Finding("Redis", "warning", "it denies INFO to this user", "ACL SETUSER … +info")
    else:
        kind = "Valkey" if "valkey_version" in info else "Redis"
        version = info.get("valkey_version", info.get("redis_version"))
        yield Finding("Redis", "ok", f"{kind} {version}, noeviction")
        yield await _persistence(redis, info)
        yield _memory(info)
    yield await _writes(redis)


async def _writes(redis: Redis) -> Finding:
    """Whether jobs could be taken: by commands of the kinds that we use, which change nothing."""
    try:
        async with translated_errors():
            denied = await redis.eval(_DENIED, 1, ROUTE, *commands())
            await redis.publish(Key.NOTIFY.value, "- probe")
        await check_writes(redis)
    except QueueUnavailable as error:
        fault = FAULT_OF_CODE[error.code]
        return Finding("Redis writes", "problem", f"{fault.found}: {error.__cause__}", fault.advice)
    if denied:
        names = " ".join(name.decode() for name in denied)
        found = f"{PERMISSION.found}: {names}, inside scripts"
        return Finding("Redis writes", "problem", found, PERMISSION.advice)
    return Finding("Redis writes", "ok", "it takes jobs")


async def _persistence(redis: Redis, info: dict[str, Any]) -> Finding:
    if not info.get("aof_enabled"):
        return Finding(
            "persistence",
            "warning",
            "no append-only file: a restart of Redis loses waiting jobs and results",
            "CONFIG SET appendonly yes, and in its configuration file",
        )
    try:
        fsync = str((await redis.config_get("appendfsync")).get("appendfsync"))
    except ResponseError:
        fsync = "unknown"
    loses = {"always": "nothing is lost", "everysec": "a power cut may lose a second"}
    if fsync == "no":
        return Finding(
            "persistence", "warning", "appendfsync no", "CONFIG SET appendfsync everysec"
        )
    found = f"append-only file, appendfsync {fsync}"
    return Finding("persistence", "ok", ": ".join(filter(None, (found, loses.get(fsync)))))


def _memory(info: dict[str, Any]) -> Finding:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    found = f"{used / 1e6:.0f} MB used"
    if limit and used > _FULL * limit:
        return Finding(
            "Redis memory",
            "warning",
            f"{found} of {limit / 1e6:.0f} MB: when it is full, new jobs get 503",
            "raise maxmemory, or lower MINDALLE_QUEUE__RESULT_TTL_S",
        )
    limited = f"{found}, limit {limit / 1e6:.0f} MB" if limit else found
    return Finding("Redis memory", "ok", limited)


async def result_store(settings: Settings) -> Finding:
    """Whether finished pictures could be kept: by a file that is put, read and removed."""
    about, url = "results", settings.results.url
    try:
        store = open_store(settings.results)
    except StartRefused as error:
        advice = "put the address, its folder or its provider's variables right, or install that"
        return Finding(about, "problem", str(error), advice)
    if store is None:
        return Finding(about, "ok", "Redis keeps finished pictures")
    name, data = f"doctor/{secrets.token_hex(8)}.txt", b"put by mindalle doctor"
    try:
        await store.put(name, data, "text/plain")
        is_same = await store.get(name) == data
        await store.delete([name])
    except ResultsUnavailable as error:
        found = f"{url}: {in_one_line(error.__cause__ or error)}"
        advice = "look at MINDALLE_RESULTS__URL and __ENDPOINT, credentials, room and permissions"
        return Finding(about, "problem", found, advice)
    if not is_same:
        return Finding(about, "problem", f"{url} gives back other bytes", "use another store")
    return Finding(about, "ok", f"{url} takes, gives and removes files")


def model(settings: Settings) -> list[Finding]:
    """Weights and device, where a worker could run."""
    if importlib.util.find_spec("torch") is None:
        return [
            Finding(
                "worker",
                "skipped",
                "torch is not installed: the API can run here, a worker can't",
                "for a worker: pip install 'mindalle-serve[worker]'",
            )
        ]
    from service.doctor.model import examine_model  # noqa: PLC0415 - loads torch

    return examine_model(settings)
