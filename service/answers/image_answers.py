"""The bodies of answers that carry images, and of errors, as the OpenAPI document shows them.

What OpenAI's SDKs parse keeps their names; what is ours stands beside it.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, Field

from service.jobs import JobView, OutputFormat


class ErrorDetail(BaseModel):
    """What went wrong. `param` names the field at fault, `code` is for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """Every error looks like this."""

    error: ErrorDetail


class InputDetails(BaseModel):
    """What the input consists of: a prompt's positions, and the codes of a caller's picture."""

    text_tokens: int
    image_tokens: int = 0


class Usage(BaseModel):
    """The prompt's positions, padding included, and codes.

    Those of a caller's picture count once, as input; those of all candidates that were made count
    as output, whether they were drawn or kept from the picture.
    """

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputDetails

    @classmethod
    def of(cls, view: JobView) -> Self:
        """The input counts once, however many candidates share it."""
        job = view.job
        made = view.num_drawn * job.codes_per_candidate
        given = 0 if job.recipe.source is None else job.codes_per_candidate
        return cls(
            input_tokens=job.prompt_len + given,
            output_tokens=made,
            total_tokens=job.prompt_len + given + made,
            input_tokens_details=InputDetails(text_tokens=job.prompt_len, image_tokens=given),
        )


class ImageData(BaseModel):
    """One image, by address or by content. Rank 0 has the best score."""

    url: str | None = None
    b64_json: str | None = None
    rank: int
    candidate: int
    score: float | None


class ImagesAnswer(BaseModel):
    """The answer to a synchronous request. `seed` and the other fields make the images again."""

    created: int
    data: list[ImageData]
    background: Literal["opaque"] = "opaque"
    output_format: OutputFormat
    size: str
    native_size: str = Field(description="What the model made; `size` is resampled from it.")
    usage: Usage
    job_id: str
    model: str
    seed: int
    num_candidates: int
    num_drawn: int = Field(description="Of `num_candidates`; fewer where `accept` was content.")
    prompt_truncated: bool
    timings_s: dict[str, float]

    @classmethod
    def of(cls, view: JobView, data: list[ImageData]) -> Self:
        """For a job that has succeeded."""
        recipe = view.job.recipe
        return cls(
            created=(view.finished_ms or view.created_ms) // 1000,
            data=data,
            output_format=view.job.output_format,
            size=view.size or view.job.size,
            native_size=view.native_size or view.job.size,
            usage=Usage.of(view),
            job_id=view.job.id,
            model=recipe.model,
            seed=recipe.seed,
            num_candidates=recipe.num_candidates,
            num_drawn=view.num_drawn,
            prompt_truncated=view.prompt_truncated,
            timings_s=view.timings_s,
        )


class StreamedImage(BaseModel):
    """What the two events of a stream share."""

    b64_json: str
    created_at: int
    size: str
    output_format: OutputFormat
    quality: Literal["auto"] = "auto"
    background: Literal["opaque"] = "opaque"
    job_id: str
    candidate: int


class PartialImageEvent(StreamedImage):
    """A picture decoded from the codes drawn so far; of all of them, but coarser, with a `view`."""

    type: Literal["image_generation.partial_image", "image_edit.partial_image"]
    partial_image_index: int
    view: str | None = None


class CompletedEvent(StreamedImage):
    """A finished picture; one such event for each of the `n` images, the best first."""

    type: Literal["image_generation.completed", "image_edit.completed"]
    native_size: str
    rank: int
    score: float | None
    seed: int
    num_drawn: int
    prompt_truncated: bool
    usage: Usage
