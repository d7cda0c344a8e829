"""Which workers live: what each of them says about itself, and for how long it is believed.

Knows nothing of jobs. A worker that stops its heartbeat vanishes after the time to live.
"""

from __future__ import annotations

import json
import logging
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from redis.asyncio import Redis

from models.configs.preset import SamplingDefaults
from models.configs.prior import PrefixKind
from service.broker.keys import GROUP, Key
from service.broker.redis_connection import translated_errors
from service.broker.scripts import Scripts
from service.jobs import MAX_CANDIDATES, known_fields

_log = logging.getLogger(__name__)

_SHORTEST_TTL_S = 5.0  # a busy machine's heartbeat may come late
_NUM_MISSED = 3  # heartbeats in a row, before a worker counts as gone
_LIST_TTL_MS = 600_000  # longer than any worker's own
_DEFAULT = "default_"  # before the names of a card's defaults, in JSON
# Of a card, that the first release doesn't know.
_TRAITS = ("depth", "levels", "views", "has_scores", "takes_pictures", "filters", "enhances")

WorkerState = Literal["loading", "ready", "draining", "failing"]
# Of a model in a worker of several: cold, it takes jobs, and is loaded when one comes.
Residence = Literal["cold", "loading", "ready", "unloading"]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What callers may know of the model that a worker holds.

    `size` is pixels as "256x256". `prompt_len` positions hold the prompt, padding included; then
    come `codes_per_candidate` codes, `depth` at a position in so many `levels`, each one of at most
    `vocab_size`.
    `views` are parameters and values by which a picture can be seen coarser, coarse to fine.
    `has_scores`: something ranks its pictures. `takes_pictures`: they can begin with a caller's
    picture; None where its worker is of a release that knows none. `filters`: what each filter
    does, in words.
    `enhances`: whether pictures are enhanced by default; None where they can't be.
    """

    model: str
    licence: str = ""
    size: str = "auto"
    prompt_len: int = 0
    prompt_kind: PrefixKind = "text"
    max_candidates: int = MAX_CANDIDATES
    vocab_size: int = 2**31 - 1
    codes_per_candidate: int = 0
    defaults: SamplingDefaults = field(default_factory=SamplingDefaults)
    weights_digest: str = ""
    num_classes: int | None = None
    depth: int = 1
    levels: int = 1
    views: tuple[tuple[str, str], ...] = ()
    has_scores: bool = False
    takes_pictures: bool | None = None
    filters: tuple[tuple[str, str], ...] = ()
    enhances: bool | None = None

    def enhance(self, asked: bool | None) -> bool | None:
        """What a recipe says of it: nothing where it is off anyway.

        So a plain picture's file is that of a model without one, to the byte.
        """
        if not asked and not self.enhances:
            return None
        return True if asked is None else asked

    def to_values(self) -> dict[str, Any]:
        """Flat and JSON-ready, in the words of the first release: to it, each step drew one code,
        and each default was one number, here the widest.
        """
        values = asdict(self)
        defaults = {_DEFAULT + name: _widest(v) for name, v in values.pop("defaults").items()}
        values["num_steps"] = values.pop("codes_per_candidate")
        return {name: v for name, v in values.items() if name not in _TRAITS} | defaults

    def to_traits(self) -> dict[str, Any]:
        """JSON-ready: what the first release has no words for."""
        return {"defaults": asdict(self.defaults)} | {name: getattr(self, name) for name in _TRAITS}

    @classmethod
    def from_values(cls, values: Mapping[str, Any], traits: Mapping[str, Any]) -> Self:
        """The card of `to_values` and `to_traits`, of this release or another one."""
        told = {
            name.removeprefix(_DEFAULT): value
            for name, value in values.items()
            if name.startswith(_DEFAULT)
        }
        told |= traits.get("defaults", {})
        own = {
            "codes_per_candidate": values.get("num_steps", 0),
            "defaults": SamplingDefaults(**known_fields(SamplingDefaults, told)),
            "depth": traits.get("depth", 1),
            "levels": traits.get("levels", 1),
            "views": tuple((name, value) for name, value in traits.get("views", ())),
            "has_scores": traits.get("has_scores", False),
            "takes_pictures": traits.get("takes_pictures"),
            "enhances": traits.get("enhances"),
            "filters": tuple((name, words) for name, words in traits.get("filters", ())),
        }
        return cls(**known_fields(cls, values) | own)


def _widest(value: Any) -> Any:
    return max(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker's sign of life. `num_steps` only grows; `state` failing takes it out of readiness.

    A process with several models gives a sign for each, as if there were as many workers.
    `is_progressing`: steps were made since the last heartbeat, or nothing runs.
    """

    id: str
    card: ModelCard
    state: WorkerState = "loading"
    rows_total: int = 0
    rows_busy: int = 0
    candidates_per_s: float = 0.0
    num_steps: int = 0
    is_progressing: bool = True
    version: str = ""
    residence: Residence = "ready"

    def to_json(self) -> str:
        """For Redis. The first release refuses fields that it doesn't know, here and in the card:
        what is new has a key of its own, the traits.
        """
        values = asdict(self) | {"card": self.card.to_values()}
        del values["residence"]
        return json.dumps(values)

    def traits_to_json(self) -> str:
        """The rest: the card's traits, and where the model is."""
        return json.dumps(self.card.to_traits() | {"residence": self.residence})

    @classmethod
    def from_json(cls, text: str | bytes, traits: str | bytes = "{}") -> Self:
        """The sign of `to_json` and `traits_to_json`, of this release or another one.

        ValueError when it is none.
        """
        try:
            values, told = json.loads(text), json.loads(traits)
            card = ModelCard.from_values(values["card"], told)
            own = {"card": card, "residence": told.get("residence", "ready")}
            return cls(**known_fields(cls, values) | own)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("this is no worker's sign of life") from error

    @property
    def is_loaded(self) -> bool:
        """Whether its model is in memory now."""
        return self.state != "loading" and self.residence in ("ready", "unloading")

    @property
    def is_serving(self) -> bool:
        """True when new jobs for its model will be picked up."""
        return self.state == "ready" and self.is_progressing


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that has a worker's name; '' for one that says nothing of itself.

    Its last sign of life is believed until then, by the clock of Redis.
    """

    owner: str
    believed_until_ms: int


class Workers:
    """The list of live workers in Redis. `heartbeat_s`: how often this process says it lives.

    `owner` stands for this process, among all that may go by the same worker's name.
    """

    def __init__(self, redis: Redis, *, heartbeat_s: float = 1.0, owner: str | None = None) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._owner = owner or secrets.token_hex(8)
        self._ttl_ms = math.ceil(max(_SHORTEST_TTL_S, _NUM_MISSED * heartbeat_s) * 1000)

    async def heartbeat(self, info: WorkerInfo, *, gone: str | None = None) -> Holder | None:
        """Say that this worker lives; gives who has its name instead, and then says nothing.

        `gone` is an owner that is known to have ended: its name is free.
        """
        arguments = {
            "worker": info.id,
            "owner": self._owner,
            "gone": gone,
            "ttl_ms": self._ttl_ms,
            "list_ttl_ms": _LIST_TTL_MS,
        }
        signs = info.to_json(), info.traits_to_json()
        found = await self._scripts.run("sign", arguments, *signs)
        return Holder(found[0].decode(), found[1]) if found else None

    async def remove(self, worker_id: str, model: str) -> None:
        """Leave the list, as the last act of a clean end."""
        arguments = {"worker": worker_id, "owner": self._owner}
        if await self._scripts.run("leave", arguments):
            async with translated_errors():
                await self._forget_consumer(worker_id, Key.TICKETS.of(model))

    async def _forget_consumer(self, worker_id: str, tickets: str) -> None:
        """Take the name out of the consumer group, unless jobs are still on it."""
        if not await self._redis.exists(tickets):
            return
        consumers = await self._redis.xinfo_consumers(tickets, GROUP)
        if any(c["name"] == worker_id.encode() and c["pending"] == 0 for c in consumers):
            await self._redis.xgroup_delconsumer(tickets, GROUP, worker_id)

    async def list(self) -> list[WorkerInfo]:
        """All workers whose last heartbeat is fresh, by id."""
        async with translated_errors():
            members: Any = await self._redis.smembers(Key.WORKERS.of())
            ids = sorted(member.decode() for member in members)
            signs = await self._read(Key.WORKER, ids)
            traits = await self._read(Key.TRAITS, ids)
            gone = [worker for worker, sign in zip(ids, signs, strict=True) if sign is None]
            if gone:
                await self._redis.srem(Key.WORKERS.of(), *gone)
        found = zip(ids, signs, traits, strict=True)
        return [
            info
            for name, sign, told in found
            if sign is not None and (info := _info(name, sign, told or b"{}"))
        ]

    async def _read(self, key: Key, ids: Sequence[str]) -> Sequence[Any]:
        return await self._redis.mget([key.of(worker) for worker in ids]) if ids else ()


def _info(worker_id: str, sign: bytes, traits: bytes) -> WorkerInfo | None:
    """None for what we can't read."""
    try:
        return WorkerInfo.from_json(sign, traits)
    except ValueError:
        _log.warning("worker %s speaks of other things than we know", worker_id)
        return None
