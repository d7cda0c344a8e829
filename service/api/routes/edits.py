"""`POST /v1/images/edits` and `/v1/images/variations`: pictures that begin with a caller's picture.

OpenAI's contracts, as forms; the same in JSON. What is drawn anew, `sources` and the worker know.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from service.answers.image_answers import ImagesAnswer
from service.answers.source_request import PictureRequest
from service.api.api_state import WAITS, OriginOfRequest, State
from service.api.openapi import (
    BODY_ERRORS,
    JOB_HEADERS,
    PICTURE_CONTENT,
    RATE_HEADERS,
    errors,
    form_body,
    stream_content,
)
from service.api.routes.generations import answered
from service.errors import InvalidRequest
from service.sources.source import DEFAULT_KEEP

_STREAM = stream_content(
    "image_edit.partial_image",
    {"type": "image_edit.partial_image", "partial_image_index": 0, "b64_json": "iVBOR…"},
)
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "As for generations.",
        "content": PICTURE_CONTENT | _STREAM,
        "headers": JOB_HEADERS | RATE_HEADERS,
    },
    **errors(*BODY_ERRORS, 401, 404, 409, 429, 503, 504),
}

router = APIRouter(tags=["images"], dependencies=WAITS)


@router.post(
    "/v1/images/edits",
    response_model=ImagesAnswer,
    responses=_RESPONSES,
    openapi_extra=form_body("PictureRequest"),
)
async def edit_image(
    body: PictureRequest, request: Request, state: State, origin: OriginOfRequest
) -> Response:
    """Draw a part of a picture anew, and leave the rest as it is.

    Cells that the transparent part of `mask` touches are drawn, by `prompt`; outside of it the
    picture's own pixels come back. Without a hole, as a variation.
    """
    return await answered(body, request, state, origin)


@router.post(
    "/v1/images/variations",
    response_model=ImagesAnswer,
    responses=_RESPONSES,
    openapi_extra=form_body("PictureRequest"),
)
async def vary_image(
    body: PictureRequest, request: Request, state: State, origin: OriginOfRequest
) -> Response:
    """Keep a part of a picture's codes and draw the others.

    The first `keep` of their rows, or all but `strength` of them. A prompt may be left out; a
    class-conditional model needs a class id.
    """
    if body.mask is not None:
        raise InvalidRequest("mask belongs to /v1/images/edits.", param="mask")
    if body.keep is None and body.strength is None:
        body = body.model_copy(update={"keep": DEFAULT_KEEP})
    return await answered(body, request, state, origin)
