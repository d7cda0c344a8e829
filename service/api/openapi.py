"""What the OpenAPI document says of answers that types alone can't tell: errors, pictures, streams.

Knows no routes: they take from here what they may answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse, JSONResponse

from models.presets.register import VIEW_PARAMETERS
from service.answers.image_answers import ErrorAnswer
from service.answers.webhook_message import WebhookMessage
from service.api.http.accept import MEDIA_TYPES
from service.api.http.addressing import address
from service.api.http.envelope import error_body
from service.api.http.sse import ServerEvent
from service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    DeadlinePassed,
    DomainError,
    IdempotencyMismatch,
    InvalidRequest,
    JobCancelled,
    JobNotFound,
    NoWorker,
    QueueFull,
    Unauthenticated,
    UnsupportedMediaType,
)

Responses = dict[int | str, dict[str, Any]]

DESCRIPTION = """
Text-to-image models of the minDALL-E family behind one queue.

* `POST /v1/images/generations` is OpenAI's Images API: its SDKs work unchanged.
* `POST /v1/images/edits` and `/v1/images/variations` begin with a picture, as in OpenAI's API.
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
    415: "The body is not JSON, or a form where pictures are taken.",
    422: "The Idempotency-Key was used before with another body.",
    429: "The queue is full, this key is over its rate or its share, or the server has too many "
    "pictures to read.",
    500: "The server or the model made a mistake.",
    503: "No worker serves the model now, or the server is shutting down.",
    504: "The deadline passed before the images were ready.",
}
_EXAMPLES: tuple[DomainError, ...] = (
    InvalidRequest("n must be a whole number from 1 to 10, such as 4; 11 is not.", param="n"),
    Unauthenticated(),
    JobNotFound(),
    BodyTooSlow(),
    JobCancelled(),
    BodyTooLarge(65_536),
    UnsupportedMediaType(),
    IdempotencyMismatch(),
    QueueFull(retry_after_s=3),
    DomainError(),
    NoWorker("mindalle-1.3b"),
    DeadlinePassed(),
)
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds, from the measured rate at which jobs leave.",
        "schema": {"type": "integer", "minimum": 1},
    }
}


def _text_headers(**described: str) -> dict[str, Any]:
    return {
        name.replace("_", "-"): {"description": text, "schema": {"type": "string"}}
        for name, text in described.items()
    }


_REQUEST_ID = _text_headers(x_request_id="The client's own if it sent a sane one.")
JOB_HEADERS = _text_headers(
    x_mindalle_job_id="The job that made the images.",
    x_mindalle_model="The model that did.",
    x_mindalle_seed="The seed that makes them again.",
    x_mindalle_score="With a picture only: its score.",
    x_mindalle_candidate="With a picture only: its number among the candidates.",
    x_mindalle_num_drawn="With a picture only: how many candidates were drawn.",
    x_mindalle_prompt_truncated="With a picture only: true when the prompt was cut.",
    x_mindalle_size="With a picture only: its width and height.",
    x_mindalle_native_size="With a picture only: what the model made, before resampling.",
)
RATE_HEADERS = _text_headers(
    x_ratelimit_limit_requests="Jobs that this API key may send at once.",
    x_ratelimit_remaining_requests="How many of them are left.",
    x_ratelimit_reset_requests="Seconds until all are, such as `1.5s`.",
)
_MESSAGE_HEADERS = [
    {"name": name, "in": "header", "required": True, "description": about, "schema": {"type": kind}}
    for name, about, kind in (
        ("webhook-id", "The same whenever the same message comes.", "string"),
        ("webhook-timestamp", "When it was sent: seconds since 1970.", "integer"),
        ("webhook-signature", "`v1,` and base64, once for each of the secrets.", "string"),
    )
]
_TAKEN = {"2XX": {"description": "Taken. After anything else it comes again, for a day."}}
_FORM = (
    "JSON, or a form: there a list is `name[]` again and again, a field of an object `name[key]`, "
    "or both are JSON as the text of `name`."
)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
PICTURE_CONTENT: dict[str, Any] = {kind: _BINARY for kind in MEDIA_TYPES.values()}
BODY_ERRORS = (400, 408, 413, 415)
VIEW_QUERIES: list[dict[str, Any]] = [
    {
        "name": name,
        "in": "query",
        "description": f"One of the values that the job's `views` list for `{name}`, coarse to "
        "fine; the image as it is when left out.",
        "schema": {"type": "string"},
    }
    for name in VIEW_PARAMETERS
]


def stream_content(event: str, data: Mapping[str, object]) -> dict[str, Any]:
    """The content of an answer that streams, with one event as an example."""
    example = ServerEvent(event, data, id="1795511214662-0").encode().decode()
    return {"text/event-stream": {"schema": {"type": "string"}, "example": example}}


def form_body(schema: str) -> dict[str, Any]:
    """For a route that takes the same fields as a form: in JSON they are shown by their schema."""
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    about = {"description": _FORM, "content": {"multipart/form-data": content}}
    return {"requestBody": about}


def errors(*statuses: int) -> Responses:
    """The errors that a route may answer with; 500 is always among them."""
    return {status: _error(status) for status in sorted({*statuses, 500})}


def _error(status: int) -> dict[str, Any]:
    headers = _RETRY_AFTER if status in (429, 503) else {}
    return {"model": ErrorAnswer, "description": _WHAT[status], "headers": headers}


def install(app: FastAPI) -> None:
    """Make `/openapi.json` tell what is answered here instead of FastAPI's own guesses, and both
    pages the address that the caller sees.
    """

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # the way FastAPI documents
    app.include_router(_pages(app))
    _describe_webhooks(app)


def _describe_webhooks(app: FastAPI) -> None:
    """What the receivers of webhooks get: no route of ours, but a part of the document."""

    @app.webhooks.post("job", openapi_extra={"parameters": _MESSAGE_HEADERS}, tags=["jobs"])
    async def job_event(body: WebhookMessage) -> None:
        """A job has started or ended. Signed as Standard Webhooks says; may come more than once."""


def _pages(app: FastAPI) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/openapi.json")
    async def document(request: Request) -> JSONResponse:
        seen = address(request)
        servers = {"servers": [{"url": str(seen.base)}]} if seen.is_told else {}
        return JSONResponse(app.openapi() | servers)

    @router.get("/docs")
    async def docs(request: Request) -> HTMLResponse:
        where = f"{address(request).base.prefix}/openapi.json"
        return get_swagger_ui_html(openapi_url=where, title=f"{app.title} - Swagger UI")

    return router


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        webhooks=app.webhooks.routes,
    )
    for message in document["webhooks"].values():
        message["post"]["responses"] = _TAKEN
    for operation in _operations(document):
        responses = operation["responses"]
        if _is_framework_error(responses.get("422", {})):
            del responses["422"]
        for response in responses.values():
            response["headers"] = response.get("headers", {}) | _REQUEST_ID
        for error in _EXAMPLES:
            _exemplify(responses.get(str(error.status), {}), error)
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    return document


def _exemplify(response: dict[str, Any], error: DomainError) -> None:
    """Set after the document is made: FastAPI drops the nulls of examples that it is given."""
    content = response.get("content", {}).get("application/json", {})
    if content.get("schema", {}).get("$ref", "").endswith("/ErrorAnswer"):
        content["example"] = error_body(error)


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _is_framework_error(response: dict[str, Any]) -> bool:
    """FastAPI promises a 422 of its own wherever it validates; here that is a 400."""
    content = response.get("content", {}).get("application/json", {})
    reference: str = content.get("schema", {}).get("$ref", "")
    return reference.endswith("/HTTPValidationError")
