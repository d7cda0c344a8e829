"""The body of a request for images: its fields, limits and examples; what answers repeat of it.

Checks all that can be told without knowing the model; admission.py does the rest. The names are
OpenAI's where OpenAI has one; the other fields go through an SDK's `extra_body`.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
)
from pydantic_core import PydanticCustomError

from service.jobs import MAX_CANDIDATES, MAX_SEED, OutputFormat
from service.sources.source import Fit

MAX_IMAGES = 10
MAX_PARTIAL_IMAGES = 3
# Colder than this, differences between logits overflow float32 and the draw has no meaning.
MIN_TEMPERATURE = 0.01
MAX_TEMPERATURE = 100.0
_UNSEEN = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})  # categories of Unicode

ResponseFormat = Literal["url", "b64_json"]
PriorityName = Literal["high", "normal", "low"]


def _number(value: object) -> object:
    """JSON has numbers; true and "3" are not among them, though Python would make them one."""
    if isinstance(value, bool | str):
        raise PydanticCustomError("no_number", "a number is needed")
    return value


def _encodable(text: str) -> str:
    """JSON can spell half a surrogate pair, which no encoding can store."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("the text holds half a character (a lone surrogate)")
    return text


def is_blank(text: str) -> bool:
    """True when nothing in it can be seen: only spaces, line ends, joiners and such."""
    return all(unicodedata.category(letter) in _UNSEEN for letter in text)


_Number = BeforeValidator(_number)
# One number for all codes of a position, or a list with one for each level of them. How long a list
# must be, the model says: so `out_of_range` is asked of what is in it where the model is known.
_Whole = Annotated[Annotated[int, Field(ge=1)] | list[Annotated[int, _Number]] | None, _Number]
_Share = Annotated[
    Annotated[float, Field(gt=0, le=1)] | list[Annotated[float, _Number]] | None, _Number
]
_Warmth = Annotated[
    Annotated[float, Field(ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)]
    | list[Annotated[float, _Number]]
    | None,
    _Number,
]
_PER_LEVEL = "A list has one for each level of the codes that the model draws at a position."
Text = Annotated[StrictStr, AfterValidator(_encodable)]
IGNORED = "Accepted so that OpenAI clients work unchanged; it has no effect here."


class Accept(BaseModel):
    """Which candidates are good enough."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    min_score: Annotated[float, _Number] = Field(description="The least score.")


class ImageRequest(BaseModel):
    """What to draw and how."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [
                {"prompt": "a red apple", "response_format": "b64_json"},
                {"prompt": "a snowy owl", "n": 4, "num_candidates": 16, "seed": 7, "top_k": 256},
            ]
        },
    )

    prompt: Text | StrictInt | None = Field(
        None,
        description="A text for a text model; a class id (a number or its digits) for a "
        "class-conditional one; empty or left out for an unconditional one. A text longer than "
        "the model reads is cut, and the answer says so.",
    )
    model: Text | None = Field(None, description="One of `/v1/models`.", max_length=200)
    n: Annotated[int | None, _Number] = Field(
        1, ge=1, le=MAX_IMAGES, description="How many images to return."
    )
    size: Text | None = Field(
        "auto",
        pattern=r"^(auto|[0-9]{1,5}x[0-9]{1,5})$",
        description="`auto`, what the model makes, or another where the server resamples.",
    )
    response_format: ResponseFormat | None = Field(
        "url", description="Images as addresses or inside the answer. A job has addresses only."
    )
    output_format: OutputFormat | None = Field(
        None, description="File format; `png` unless the Accept header names another."
    )
    stream: bool | None = Field(
        False, strict=True, description="Answer with server-sent events. A job has its own."
    )
    partial_images: Annotated[int | None, _Number] = Field(
        0,
        ge=0,
        le=MAX_PARTIAL_IMAGES,
        description="Unfinished pictures to stream on the way. Of a model "
        "with `views`, the first shows the rows so far, the others the finished picture by the "
        "coarser views.",
    )
    num_candidates: Annotated[int | None, _Number] = Field(
        None,
        ge=1,
        le=MAX_CANDIDATES,
        description="How many to generate; the best `n` are returned. The model's own number "
        "when left out.",
    )
    accept: Accept | None = Field(
        None,
        description="Draw on until `n` candidates are good enough, at most `num_candidates` or, "
        "when that is left out, as many as the model makes. The best `n` of those drawn are "
        "returned, good enough or not.",
    )
    top_k: _Whole = Field(
        None,
        description="Draw from the k likeliest codes; at most the model's vocabulary. "
        + _PER_LEVEL,
    )
    top_p: _Share = Field(
        None,
        description="Draw from the likeliest codes that hold this probability. " + _PER_LEVEL,
    )
    temperature: _Warmth = Field(None, description="Divides the logits. " + _PER_LEVEL)
    seed: Annotated[int | None, _Number] = Field(
        None, ge=0, lt=MAX_SEED, description="Same seed, same picture; drawn when left out."
    )
    enhance: bool | None = Field(
        None,
        strict=True,
        description="Draw finer codes over those of the images that are returned. The model's own "
        "choice when left out; only models with `enhances` have it.",
    )
    priority: PriorityName | None = Field("normal", description="Place among the waiting jobs.")
    deadline_s: Annotated[float | None, _Number] = Field(
        None,
        gt=0,
        description="Give up when the images are not ready so many seconds after the job was "
        "queued. A picture to begin with is read before that, and may take as long.",
    )
    quality: Text | None = Field(None, description=IGNORED)
    style: Text | None = Field(None, description=IGNORED)
    background: Text | None = Field(None, description=IGNORED)
    moderation: Text | None = Field(None, description=IGNORED)
    output_compression: Annotated[int | None, _Number] = Field(None, description=IGNORED)
    complexity: Text | None = Field(None, description=IGNORED)
    user: Text | None = Field(None, description=IGNORED)
    safety_identifier: Text | None = Field(None, description=IGNORED)

    @property
    def has_picture(self) -> bool:
        """Whether it begins with a caller's picture; a request of this kind never does."""
        return False

    def lists(self) -> dict[str, list[float]]:
        """Its fields that hold a list with one number for each level of codes."""
        given = {name: getattr(self, name) for name in _IN_RANGE}
        return {name: value for name, value in given.items() if isinstance(value, list)}

    def digest(self) -> str:
        """A hash of all it says, to recognise the same request when it comes again.

        A field that is null or left out or has its default says nothing.
        """
        said = self.model_dump_json(exclude_none=True, exclude_defaults=True)
        return hashlib.sha256(said.encode()).hexdigest()


_IN_RANGE: Mapping[str, Callable[[float], bool]] = MappingProxyType(
    {
        "top_k": lambda number: number >= 1,
        "top_p": lambda number: 0 < number <= 1,
        "temperature": lambda number: MIN_TEMPERATURE <= number <= MAX_TEMPERATURE,
    }
)


def out_of_range(field: str, numbers: Sequence[float]) -> int | None:
    """The index of the first of the numbers that may not stand in the field, whatever the model."""
    is_in_range = _IN_RANGE[field]
    return next((at for at, number in enumerate(numbers) if not is_in_range(number)), None)


class ModelDefaults(BaseModel):
    """What a request gets that names nothing else; null means no cut."""

    num_candidates: int
    top_k: int | list[int] | None
    top_p: float | list[float] | None
    temperature: float | list[float]


class SourceParameters(BaseModel):
    """The picture that an image begins with, by the hash of its file, and what is kept of it."""

    image_sha256: str
    mask_sha256: str | None
    fit: Fit
    keep: float | None
    strength: float | None
    blend: bool
    is_codes: bool


class JobParameters(BaseModel):
    """All that decides how the images look, with nothing left to a default."""

    prompt: str | int | None
    n: int
    num_candidates: int
    top_k: int | list[int] | None
    top_p: float | list[float] | None
    temperature: float | list[float]
    seed: int
    output_format: OutputFormat
    priority: PriorityName
    partial_images: int
    deadline_s: float
