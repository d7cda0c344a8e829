"""How a client of this service speaks: parameters, errors, when to try again, events, results.

Does no I/O: that is the asynchronous client's, which the blocking one calls.
"""

from __future__ import annotations

import base64
import json
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, TypeVar

import httpx

from service.jobs import TERMINAL, Image, OutputFormat, known_fields
from service.sources.source import Fit

GENERATIONS = "/v1/images/generations"
EDITS = "/v1/images/edits"
JOBS = "/v1/jobs"
MODELS = "/v1/models"
# Bytes come at least as often as the server's heartbeat; a longer silence is a lost connection.
STREAM_SILENCE_S = 60.0
_LONGEST_RETRY_AFTER_S = 120.0
_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 8.0
_RETRIED = frozenset({408, 409, 429})

_T = TypeVar("_T")


class Parameters(TypedDict, total=False):
    """What a request may say besides its prompt; see the server's `/docs` for limits.

    With an `image`, a file's bytes, the picture begins with that; the last five say how.
    """

    model: str
    n: int
    num_candidates: int
    accept: Mapping[str, float]
    top_k: int | Sequence[int]
    top_p: float | Sequence[float]
    temperature: float | Sequence[float]
    enhance: bool
    seed: int
    size: str
    output_format: OutputFormat
    partial_images: int
    priority: Literal["high", "normal", "low"]
    deadline_s: float
    image: bytes
    mask: bytes
    fit: Fit
    keep: float
    strength: float
    blend: bool


class JobParameters(Parameters, total=False):
    """Those of a job that nobody waits for: it may name an address that is told how it goes."""

    webhook: Mapping[str, str | Sequence[str]]


class ApiError(Exception):
    """The server's error. `status` is None when it came in the middle of a stream."""

    def __init__(
        self, error: Mapping[str, Any], status: int | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(error.get("message", "the server sent an error without a message"))
        self.status = status
        self.type: str | None = error.get("type")
        self.param: str | None = error.get("param")
        self.code: str | None = error.get("code")
        self.request_id = request_id
        self.retry_after_s: float | None = None  # when the server will take another call

    @classmethod
    def of(cls, response: httpx.Response) -> ApiError:
        """From an answer; a proxy's or another server's may have another form."""
        try:
            error = response.json()["error"]
        except (ValueError, KeyError, TypeError):
            error = None
        if isinstance(error, dict):
            told = cls(error, response.status_code, response.headers.get("x-request-id"))
        else:
            told = cls.foreign(response)
        told.retry_after_s = _retry_after_s(response.headers)
        return told

    @classmethod
    def foreign(cls, response: httpx.Response) -> ApiError:
        """For an answer that this service does not give."""
        return cls(
            {
                "message": f"HTTP {response.status_code}, not in this service's form: the answer is"
                " another server's, or a proxy's in front of it"
            },
            response.status_code,
        )


def understood(response: httpx.Response, read: Callable[[httpx.Response], _T]) -> _T:
    """What an answer says. ApiError when it is not one of this service's."""
    try:
        return read(response)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ApiError.foreign(response) from error


class Retries:
    """How often a call may still be repeated, and how long to wait before."""

    def __init__(self, max_retries: int) -> None:
        self._left = max_retries
        self._num_used = 0

    def delay_after(self, failure: httpx.Response | httpx.TransportError) -> float:
        """Seconds to wait before the next try.

        Raises:
            ApiError, httpx.TransportError: there is no next try.
        """
        wish = None
        if isinstance(failure, httpx.Response):
            wish = _retry_after_s(failure.headers)
        if self._left == 0 or not _is_worth_it(failure, wish):
            raise failure if isinstance(failure, httpx.TransportError) else ApiError.of(failure)
        self._left -= 1
        self._num_used += 1
        return wish if wish is not None else self._backoff_s()

    def reset(self) -> None:
        """The call got on: count from the start again."""
        self._left, self._num_used = self._left + self._num_used, 0

    def _backoff_s(self) -> float:
        ceiling = min(_FIRST_DELAY_S * 2 ** (self._num_used - 1), _LONGEST_DELAY_S)
        return random.uniform(ceiling / 2, ceiling)


def _is_worth_it(failure: httpx.Response | httpx.TransportError, wish: float | None) -> bool:
    if isinstance(failure, httpx.TransportError):
        return True
    if wish is not None and wish > _LONGEST_RETRY_AFTER_S:
        return False
    advice = failure.headers.get("x-should-retry")
    if advice in ("true", "false"):
        return bool(advice == "true")
    return failure.status_code in _RETRIED or failure.status_code >= 500


def _retry_after_s(headers: httpx.Headers) -> float | None:
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(float(headers[name]), 0.0) * unit_s
        except (KeyError, ValueError):
            continue
    return None


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One event of a job or of a stream of images."""

    name: str
    data: dict[str, Any]
    id: str | None

    @property
    def is_last(self) -> bool:
        """True for the event that tells how the job ended."""
        return self.name in TERMINAL


class EventParser:
    """Puts events together from the lines of a stream."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def feed(self, line: str) -> JobEvent | None:
        """Take one line; gives the event that it completes.

        Raises:
            ApiError: the event is an error.
        """
        if line:
            name, _, value = line.partition(":")
            if name:  # a line that starts with a colon is a comment
                self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        data = json.loads(fields["data"])
        if fields.get("event") == "error":
            raise ApiError(data["error"])
        return JobEvent(fields.get("event", "message"), data, fields.get("id"))


@dataclass(frozen=True, slots=True)
class Partial:
    """An unfinished picture of one candidate, `index` counting from 0."""

    index: int
    candidate: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Generated:
    """Finished images, the best first, and what makes them again."""

    images: tuple[Image, ...]
    model: str
    seed: int
    size: str
    job_id: str
    prompt_truncated: bool
    timings_s: dict[str, float]
    num_drawn: int | None = None  # of the candidates, if the server told
    native_size: str | None = None  # what the model made, if the server told


def body_of(prompt: str | int | None, parameters: Parameters, **more: object) -> dict[str, object]:
    """The JSON of a request."""
    body = {"prompt": prompt, **parameters, **more}
    return {
        name: base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
        for name, value in body.items()
    }


def path_of(body: Mapping[str, object]) -> str:
    """Where a request whose answer is waited for goes."""
    return EDITS if "image" in body else GENERATIONS


def generated(response: httpx.Response) -> Generated:
    """From a synchronous answer with its images inside."""
    answer = response.json()
    images = tuple(_image(item) for item in answer["data"])
    return Generated(**known_fields(Generated, answer) | {"images": images})


def _image(item: Mapping[str, Any]) -> Image:
    data = base64.b64decode(item["b64_json"])
    return Image(item["rank"], item["candidate"], item.get("score"), data)


def picture(event: JobEvent) -> Partial | Image:
    """From an event of a stream of images."""
    if event.name.endswith(".completed"):
        return _image(event.data)
    data = base64.b64decode(event.data["b64_json"])
    return Partial(event.data["partial_image_index"], event.data["candidate"], data)


def headers_of(api_key: str | None) -> dict[str, str]:
    """Headers of every call; an empty key is none. ValueError for one that no header can carry."""
    return {"authorization": f"Bearer {_carried(api_key, 'API key')}"} if api_key else {}


def idempotent(key: str | None) -> dict[str, str]:
    """Headers of a job that is queued once, however often. ValueError as for `headers_of`."""
    return {"idempotency-key": _carried(key or uuid.uuid4().hex, "idempotency key")}


def _carried(key: str, what: str) -> str:
    if not (key.isascii() and key.isprintable()):
        raise ValueError(f"the {what} holds letters that no header can carry: it is another one")
    if key != key.strip():
        raise ValueError(f"the {what} begins or ends with a space, which no header can carry")
    return key


def resume_from(last_id: str | None) -> dict[str, str]:
    """Headers that ask for what comes after an event."""
    return {} if last_id is None else {"last-event-id": last_id}
