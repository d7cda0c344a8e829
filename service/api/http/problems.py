"""Turns the framework's own errors into domain errors, so that all leave in one envelope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from service.api.http.envelope import error_response
from service.errors import DomainError, InvalidRequest, MethodNotAllowed, NotFound

_SOURCES = frozenset({"body", "query", "path", "header", "cookie"})


def install(app: FastAPI) -> None:
    """Answer validation errors, unknown paths and wrong methods as everything else."""
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return error_response(invalid_request(error.errors()[0]))


def invalid_request(problem: Mapping[str, Any]) -> InvalidRequest:
    """The first thing that is wrong with a request, with the field's name."""
    path = [str(part) for part in problem["loc"] if part not in _SOURCES]
    if problem["type"] == "json_invalid" or not path:
        return InvalidRequest(_about_the_whole(problem))
    field = path[0]
    if problem["type"] == "extra_forbidden":
        error = InvalidRequest(f"There is no field {field!r}.", param=field)
        error.code = "unknown_parameter"
        return error
    message = problem["msg"].removeprefix("Value error, ")
    return InvalidRequest(f"{field}: {message}", param=field)


def _about_the_whole(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "json_invalid":
        return "The body is not valid JSON."
    if problem["type"] == "missing":
        return "Send a JSON object as the body."
    return f"The body is not a JSON object of the right form: {problem['msg']}"


async def _on_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return error_response(_domain_error(error), error.headers)


def _domain_error(error: HTTPException) -> DomainError:
    if error.status_code == 404:
        return NotFound()
    if error.status_code == 405:
        return MethodNotAllowed()
    if error.status_code < 500:
        return InvalidRequest("The body can't be read as JSON.")
    raise error
