"""Turns the framework's own errors into domain errors, so that all leave in one envelope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from service.answers.wanted import WHOLE_BODY, broken_json, in_words, named, unknown_field
from service.api.http.envelope import error_response
from service.errors import InvalidRequest, MethodNotAllowed

_SOURCES = frozenset({"body", "query", "path", "header", "cookie"})


def install(app: FastAPI) -> None:
    """Answer validation errors and wrong methods as everything else."""
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return error_response(invalid_request(error.errors()[0]))


def invalid_request(problem: Mapping[str, Any]) -> InvalidRequest:
    """The first thing that is wrong with a request, with the field's name."""
    path = [str(part) for part in problem["loc"] if part not in _SOURCES]
    if problem["type"] == "json_invalid":
        return InvalidRequest(broken_json(problem))
    if not path:
        return InvalidRequest(WHOLE_BODY)
    if problem["type"] == "extra_forbidden" and len(path) == 1:
        error = InvalidRequest(unknown_field(path[0]), param=path[0])
        error.code = "unknown_parameter"
        return error
    field = named(path)
    return InvalidRequest(in_words(field, problem), param=field)


async def _on_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        return error_response(MethodNotAllowed(request.state.allowed_methods))
    if error.status_code < 500:
        return error_response(
            InvalidRequest(f"The body can't be read as JSON. {WHOLE_BODY}"), error.headers
        )
    raise error
