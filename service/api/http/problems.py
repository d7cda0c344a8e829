"""Turns the framework's own errors into domain errors, so that all leave in one envelope."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from service.answers.wanted import (
    WHOLE_BODY,
    broken_json,
    in_words,
    named,
    too_long_number,
    unknown_field,
)
from service.api.http.envelope import error_response
from service.errors import InvalidRequest, MethodNotAllowed

_TOO_LONG = object()  # stands where the JSON has a number that Python refuses to read


def install(app: FastAPI) -> None:
    """Answer validation errors and wrong methods as everything else."""
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    problem = error.errors()[0]
    _, *path = problem["loc"]  # it begins with "body", "query" or where else it was found
    return error_response(invalid_request({**problem, "loc": path}))


def invalid_request(problem: Mapping[str, Any]) -> InvalidRequest:
    """What is wrong with a request, with the field's name; `loc` is where in it."""
    path = [str(part) for part in problem["loc"]]
    if problem["type"] == "json_invalid":
        return InvalidRequest(broken_json(problem))
    if not path and problem["type"] == "string_unicode":  # a name with half a character in it
        return _unknown(problem["input"])
    if not path:
        return InvalidRequest(WHOLE_BODY)
    if problem["type"] == "extra_forbidden" and len(path) == 1:
        return _unknown(path[0])
    field = named(path)
    return InvalidRequest(in_words(field, problem), param=field)


def _unknown(name: str) -> InvalidRequest:
    param = name.encode("utf-8", "backslashreplace").decode()
    return InvalidRequest(unknown_field(name), "unknown_parameter", param=param)


async def _on_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        return error_response(MethodNotAllowed(request.state.allowed_methods))
    if _is_too_long_number(error.__cause__):
        field = _too_long_in(await request.body())
        return error_response(InvalidRequest(too_long_number(field), param=field))
    if error.status_code < 500:
        return error_response(
            InvalidRequest(f"The body can't be read as JSON. {WHOLE_BODY}"), error.headers
        )
    raise error


def _is_too_long_number(cause: BaseException | None) -> bool:
    """What reading JSON raises else: JSONDecodeError, which never comes here, and UnicodeError."""
    return isinstance(cause, ValueError) and not isinstance(cause, UnicodeError)


def _too_long_in(body: bytes) -> str | None:
    """The field with a number of more digits than Python reads, if all else is JSON."""
    try:
        read = json.loads(body, parse_int=_short)
    except (ValueError, RecursionError):
        return None
    fields = read.items() if isinstance(read, dict) else ()
    return next((name for name, value in fields if _holds_too_long(value)), None)


def _short(number: str) -> object:
    return _TOO_LONG if len(number.lstrip("-")) > sys.get_int_max_str_digits() else 0


def _holds_too_long(value: object) -> bool:
    """Without recursion: how deep it is, the caller says."""
    left = [value]
    while left:
        one = left.pop()
        if one is _TOO_LONG:
            return True
        left += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return False
