"""What a job is: a recipe, its states, its phases, its pictures and its end.

Frozen data and its JSON form, shared by the API and the worker process. Knows no Redis, no HTTP, no
torch, and no clock but the one that makes an id sortable.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, Literal, Self

from service.hooks.webhook import Webhook
from service.sources.source import Source, guarded, opened

MAX_CANDIDATES = 96  # of one job; one that is larger than a worker's rows enters in parts
FIRST_CANDIDATES = 8  # of a job with a `min_score`, before their scores say whether to go on
MAX_SIDE = 2048  # of a picture that is resampled to the size that a request asks for
CODES_FILE = "codes"  # beside a picture of which nothing was drawn: JSON of all its codes
MAX_SEED = 2**53  # seeds stay below it: JSON readers that keep numbers as doubles lose nothing

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_RANDOM_BITS = 80
_ID_TIME_BITS = 48

OutputFormat = Literal["png", "jpeg", "webp"]

# Where a job is. Callers, metrics and traces know the phases by the names of the first release.
Phase = Literal[
    "waiting", "prefill", "drawing", "pixels", "ranking", "enhancing", "encoding", "commit"
]
STAGE_NAMES: Mapping[Phase, str] = MappingProxyType(
    {
        "waiting": "waiting",
        "prefill": "prefill",
        "drawing": "decode",
        "pixels": "pixels",
        "ranking": "rerank",
        "enhancing": "enhance",
        "encoding": "encode",
        "commit": "commit",
    }
)


class JobStatus(StrEnum):
    """Where a job stands; the four states in TERMINAL never change again."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


TERMINAL = frozenset(
    {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED}
)


class Priority(IntEnum):
    """A lower number leaves the queue first; a band is empty before the next one is served."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


def new_job_id() -> str:
    """`job_` and 26 characters, time then 80 random bits: sorts by age, can not be guessed."""
    number = (int(time.time() * 1000) << _ID_RANDOM_BITS) | secrets.randbits(_ID_RANDOM_BITS)
    shifts = range(_ID_TIME_BITS + _ID_RANDOM_BITS - 3, -1, -5)  # 128 bits in 26 characters
    return "job_" + "".join(_CROCKFORD[(number >> shift) & 31] for shift in shifts)


def new_seed() -> int:
    """A seed for a job that was sent without one."""
    return secrets.randbelow(MAX_SEED)


def known_fields(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are fields of the dataclass: another release may have written others.

    JSON's lists become tuples, as frozen data has them.
    """
    known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in known.items()
    }


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that makes a picture again. Of `num_candidates` that are drawn, the best `n` are kept.

    `prompt` is a text, a class id, or None for an unconditional model; a cut of None is no cut.
    Temperature and cuts are one value, or one for each level of codes that the model draws.
    The record inside a picture's file has the fields in this order; the file's own format and size
    are no part of it. `source` tells of a picture that it begins with, `enhance` (None where
    nobody and nothing asked for it) whether the pictures that are kept get finer codes.
    """

    model: str
    prompt: str | int | None
    seed: int
    n: int = 1
    num_candidates: int = 1
    top_k: int | tuple[int, ...] | None = None
    top_p: float | tuple[float, ...] | None = None
    temperature: float | tuple[float, ...] = 1.0
    source: Source | None = None
    enhance: bool | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From what was written down, by this release or another one; TypeError without a model."""
        own = {"prompt": None, "seed": 0} | known_fields(cls, values)
        return cls(**own | {"source": Source.of(values.get("source"))})


@dataclass(frozen=True, slots=True)
class Job:
    """A recipe and what else the service has to know of it.

    `deadline_s` counts from the moment the queue accepts the job. Files of another `size` than the
    model makes are resampled to it; auto is the model's. `prompt_len` positions hold the
    prompt and `codes_per_candidate` are drawn, by the model's card; 0 when nobody has looked.
    `key_id` names the API key that made it, never the key. With a `min_score` no more candidates
    are drawn than it takes until `n` of them have it. `webhook` says whom to tell how it goes.
    """

    id: str
    recipe: Recipe
    priority: Priority = Priority.NORMAL
    output_format: OutputFormat = "png"
    size: str = "auto"
    partial_images: int = 0
    deadline_s: float = 120.0
    embed_prompt: bool = True
    prompt_len: int = 0
    codes_per_candidate: int = 0
    min_score: float | None = None
    key_id: str = "anonymous"
    request_id: str | None = None
    traceparent: str | None = None
    webhook: Webhook | None = None

    @property
    def first_candidates(self) -> int:
        """How many are drawn before it is asked whether that was enough."""
        most = self.recipe.num_candidates
        return most if self.min_score is None else min(most, max(self.recipe.n, FIRST_CANDIDATES))

    @property
    def trace_id(self) -> str | None:
        """The trace that it belongs to, for log lines."""
        return self.traceparent.split("-")[1] if self.traceparent else None

    def to_json(self) -> str:
        """Compact ASCII JSON with every field, so that half a surrogate pair survives, too.

        Flat, with the recipe's fields among the others, as the first release wrote and reads it:
        to it, each step drew one code. What it doesn't know is there only where it says something.
        """
        values = asdict(self)
        for name in ("min_score", "webhook"):
            if values[name] is None:
                del values[name]
        recipe = values.pop("recipe") | {"num_steps": values.pop("codes_per_candidate")}
        recipe = {name: v for name, v in recipe.items() if name != "enhance" or v is not None}
        return json.dumps(guarded(values | recipe), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Job:
        """The job of `to_json`, of this release or another one."""
        raw = opened(json.loads(text))
        values = known_fields(cls, raw) | {
            "codes_per_candidate": raw.get("num_steps", 0),
            "recipe": Recipe.of(raw),
            "priority": Priority(raw.get("priority", Priority.NORMAL)),
            "webhook": Webhook.of(raw.get("webhook")),
        }
        return cls(**values)


def query(parameter: str, value: str) -> str:
    """The name of a coarser look at a picture, as it stands in the picture's address."""
    return f"{parameter}={value}"


@dataclass(frozen=True, slots=True)
class Image:
    """One finished picture: file bytes, its candidate number and its score. Rank 0 is the best.

    A score is None where nothing ranked the candidates; 0.0 is a score. `coarser` are files of the
    same picture by the `query` that asks for each.
    """

    rank: int
    candidate: int
    score: float | None
    data: bytes
    coarser: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageMeta:
    """What is known about a kept picture without its bytes."""

    rank: int
    candidate: int
    score: float | None
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Codes drawn so far of all codes of the job, and its phase, as callers know it."""

    codes_done: int = 0
    codes_total: int = 0
    stage: str = STAGE_NAMES["waiting"]


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The pictures, in rank order, with stage seconds and what the caller should know.

    `native_size` is what the model made, where the files were resampled to another `size`. `views`
    are parameters and values to see the pictures by, coarse to fine; the last is the picture as it
    is, each other one is among what is `coarser` than it. `num_drawn` candidates were drawn; None
    means all.
    """

    images: tuple[Image, ...]
    size: str
    timings_s: dict[str, float]
    prompt_truncated: bool = False
    native_size: str | None = None
    views: tuple[tuple[str, str], ...] = ()
    num_drawn: int | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Why no picture came; `message` may be shown to the caller."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Expired:
    """The deadline passed while the worker held the job."""


Outcome = Succeeded | Failed | Expired


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as it stands now. Times are Redis server time, milliseconds since 1970.

    `position` is 0 for the next job to be claimed and None unless the job is queued; `eta_s` is the
    estimated seconds until it ends, None when nothing was measured yet or it has ended. `num_drawn`
    candidates were drawn, or will be at most.
    """

    job: Job
    status: JobStatus
    position: int | None
    eta_s: float | None
    progress: Progress
    attempts: int
    created_ms: int
    started_ms: int | None
    finished_ms: int | None
    expires_ms: int | None
    images: tuple[ImageMeta, ...]
    size: str | None
    timings_s: dict[str, float]
    prompt_truncated: bool
    error: Failed | None
    native_size: str | None = None
    views: tuple[tuple[str, str], ...] = ()
    num_drawn: int = 0

    @property
    def is_terminal(self) -> bool:
        """True when the job will not change any more."""
        return self.status in TERMINAL
