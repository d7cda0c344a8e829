"""What the OpenAPI document says of answers that types alone can't tell: errors, pictures, streams.

Knows no routes: they take from here what they may answer.
"""

from __future__ import annotations

from typing import Any

from service.accept import MEDIA_TYPES
from service.image_answers import ErrorAnswer

Responses = dict[int | str, dict[str, Any]]

DESCRIPTION = """
Text-to-image models of the minDALL-E family behind one queue.

* `POST /v1/images/generations` is OpenAI's Images API: its SDKs work unchanged.
* `POST /v1/jobs` does the same without waiting.
* Every error is `{"error": {message, type, param, code}}`; every answer has an `x-request-id`.
"""

_WHAT = {
    400: "A field is missing, unknown or out of range; `param` names it.",
    401: "This server needs an API key, and this is none.",
    404: "There is no such thing.",
    408: "The body did not arrive in time.",
    409: "The job was cancelled while the caller waited.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The Idempotency-Key was used before with another body.",
    429: "The queue is full, or this key is over its rate or its share.",
    500: "The server or the model made a mistake.",
    503: "No worker serves the model now, or the server is shutting down.",
    504: "The deadline passed before the images were ready.",
}
_EXAMPLES = {
    400: ("n: Input should be less than or equal to 10", "invalid_request_error", "n",
          "invalid_value"),
    404: ("There is no such job.", "invalid_request_error", None, "job_not_found"),
    429: ("The queue is full.", "rate_limit_error", None, "queue_full"),
}  # fmt: skip
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds, from the measured rate at which jobs leave.",
        "schema": {"type": "integer", "minimum": 1},
    }
}
_REQUEST_ID = {
    "x-request-id": {
        "description": "The client's own if it sent a sane one.",
        "schema": {"type": "string"},
    }
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
PICTURE_CONTENT: dict[str, Any] = {kind: _BINARY for kind in MEDIA_TYPES.values()}
_EVENT_EXAMPLE = 'id: 1-0\nevent: progress\ndata: {"codes_done":64,"codes_total":256}\n\n'
STREAM_CONTENT: dict[str, Any] = {
    "text/event-stream": {"schema": {"type": "string"}, "example": _EVENT_EXAMPLE}
}
BODY_ERRORS = (400, 408, 413, 415)


def errors(*statuses: int) -> Responses:
    """The errors that a route may answer with; 500 is always among them."""
    return {status: _error(status) for status in sorted({*statuses, 500})}


def _error(status: int) -> dict[str, Any]:
    headers = _REQUEST_ID | (_RETRY_AFTER if status in (429, 503) else {})
    described = {"model": ErrorAnswer, "description": _WHAT[status], "headers": headers}
    if status in _EXAMPLES:
        keys = ("message", "type", "param", "code")
        error = dict(zip(keys, _EXAMPLES[status], strict=True))
        described["content"] = {"application/json": {"example": {"error": error}}}
    return described
