"""`POST /v1/images/encode` and `/decode`: what stage 1 makes of a picture, and of codes.

For people who study these models. Jobs like all others, of which nothing is drawn; an operator may
leave these routes out.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.answers.image_answers import ImagesAnswer
from service.answers.schemas import ResponseFormat
from service.answers.source_request import CodesRequest, PictureFile, PictureRequest
from service.api.admission import admit
from service.api.api_state import WAITS, ApiState, OriginOfRequest, State
from service.api.openapi import (
    BODY_ERRORS,
    JOB_HEADERS,
    PICTURE_CONTENT,
    RATE_HEADERS,
    errors,
    form_body,
)
from service.api.outcomes import as_base64
from service.api.routes.generations import answered, finished
from service.jobs import CODES_FILE, OutputFormat
from service.sources.source import Fit

_MAX_STEPS = 16_384
_MAX_DEPTH = 64
_ERRORS = errors(*BODY_ERRORS, 401, 404, 409, 429, 503, 504)
_Code = Annotated[int, Field(ge=0, strict=True)]
_Codes = Annotated[tuple[_Code, ...], Field(min_length=1, max_length=_MAX_DEPTH)]

router = APIRouter(tags=["codes"], dependencies=WAITS)


class EncodeRequest(BaseModel):
    """A picture, and the model whose codes it shall get."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: PictureFile = Field(description="A PNG, JPEG or WebP.")
    model: str | None = Field(None, max_length=200, description="One of `/v1/models`.")
    fit: Fit | None = Field("cover", description="To the model's size, as for edits.")


class EncodeAnswer(BaseModel):
    """The codes, and what stage 1 makes of them again."""

    model: str
    codes: list[list[int]] = Field(description="One list for each position, in drawing order.")
    psnr_db: float | None = Field(
        description="Of the reconstruction against the picture as it was fitted; null if equal."
    )
    size: str
    b64_json: str = Field(description="The reconstruction, as a PNG.")
    job_id: str


class DecodeRequest(BaseModel):
    """Codes of a model, and how the picture is wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    codes: tuple[_Codes, ...] = Field(
        min_length=1, max_length=_MAX_STEPS, description="As `/v1/images/encode` gives them."
    )
    model: str | None = Field(None, max_length=200, description="One of `/v1/models`.")
    output_format: OutputFormat | None = None
    response_format: ResponseFormat | None = "url"


async def _alone(state: ApiState, model: str | None) -> dict[str, Any]:
    """The fields of a request for one picture of which nothing is drawn, whatever the prompt."""
    card = await state.catalog.card(model)
    prompt = 0 if card.prompt_kind == "class" else None
    one = {"n": 1, "num_candidates": 1, "enhance": False}
    return {"model": model, "prompt": prompt, "seed": 0, **one}


@router.post(
    "/v1/images/encode",
    response_model=EncodeAnswer,
    responses={200: {"headers": RATE_HEADERS}, **_ERRORS},
    openapi_extra=form_body("EncodeRequest"),
)
async def encode_image(
    body: EncodeRequest, request: Request, response: Response, state: State, origin: OriginOfRequest
) -> EncodeAnswer:
    """A picture's codes, and the picture that stage 1 makes of them."""
    alone = await _alone(state, body.model)
    asked = PictureRequest(image=body.image, fit=body.fit, keep=1.0, **alone)
    admitted = await admit(state, asked, origin)
    response.headers.update(admitted.rate_headers())
    view = await finished(request, state, admitted.job)
    made = json.loads(await state.queue.image(view.job.id, 0, CODES_FILE))
    return EncodeAnswer(
        model=view.job.recipe.model,
        size=view.size or view.job.size,
        b64_json=as_base64(await state.queue.image(view.job.id, 0)),
        job_id=view.job.id,
        **made,
    )


@router.post(
    "/v1/images/decode",
    response_model=ImagesAnswer,
    responses={
        200: {"content": PICTURE_CONTENT, "headers": JOB_HEADERS | RATE_HEADERS},
        **_ERRORS,
    },
)
async def decode_codes(
    body: DecodeRequest, request: Request, state: State, origin: OriginOfRequest
) -> Response:
    """The picture of codes; as for generations, `Accept: image/png` answers with the file."""
    alone = await _alone(state, body.model)
    asked = CodesRequest(
        codes=body.codes,
        output_format=body.output_format,
        response_format=body.response_format,
        **alone,
    )
    return await answered(asked, request, state, origin)
