"""What each field of a request wants, in words and with an example, for whoever sent another thing.

Knows no HTTP and no model: what one model wants of a field, admission.py says.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from service.answers.job_request import JobRequest
from service.answers.schemas import (
    MAX_IMAGES,
    MAX_PARTIAL_IMAGES,
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
)
from service.hooks.target import MAX_URL
from service.hooks.webhook import HOOK_EVENTS
from service.jobs import MAX_CANDIDATES, MAX_SEED

_WARMTH = f"from {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g}"
_PER_LEVEL = "a list with one for each level of codes"
_OWN = "leave it out for the model's own"
_EVENTS = ", ".join(f'"{event}"' for event in HOOK_EVENTS)
_IGNORED = "it has no effect here"
# Field or header → what it must be, and what else helps.
_WANTED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "prompt": ('a text, such as "a red apple", or a class id, such as 207', ""),
        "model": ('the name of a model, such as "emoji"', "/v1/models lists them"),
        "n": (f"a whole number from 1 to {MAX_IMAGES}, such as 4", ""),
        "size": ('"auto", or width and height in pixels, such as "256x256"', ""),
        "response_format": ('"url" or "b64_json"', ""),
        "output_format": ('"png", "jpeg" or "webp"', ""),
        "stream": ("true or false", ""),
        "partial_images": (f"a whole number from 0 to {MAX_PARTIAL_IMAGES}, such as 2", ""),
        "num_candidates": (f"a whole number from 1 to {MAX_CANDIDATES}, such as 16", _OWN),
        "accept": ('a least score, such as {"min_score": 0.3}', "leave it out to draw all"),
        "top_k": (f"a whole number from 1 on, such as 256, or {_PER_LEVEL}", _OWN),
        "top_p": (f"a number above 0 and at most 1, such as 0.9, or {_PER_LEVEL}", _OWN),
        "temperature": (f"a number {_WARMTH}, such as 0.8, or {_PER_LEVEL}", _OWN),
        "seed": (
            f"a whole number from 0 to {MAX_SEED - 1}, such as 7",
            "leave it out for a random one",
        ),
        "enhance": ("true or false", _OWN),
        "priority": ('"high", "normal" or "low"', ""),
        "deadline_s": ("a number of seconds above 0, such as 60", ""),
        "webhook": (
            'an address and events, such as {"url": "https://shop.example/hook", "events": '
            '["succeeded", "failed"]}',
            "",
        ),
        "webhook.url": (
            f"an https address of at most {MAX_URL} characters, such as "
            '"https://shop.example/hook"',
            "",
        ),
        "webhook.events": (
            f'a list with some of {_EVENTS}, such as ["succeeded"]',
            "leave it out for every end",
        ),
        "quality": ('a text, such as "high"', _IGNORED),
        "style": ('a text, such as "vivid"', _IGNORED),
        "background": ('a text, such as "auto"', _IGNORED),
        "moderation": ('a text, such as "auto"', _IGNORED),
        "output_compression": ("a whole number, such as 80", _IGNORED),
        "image": ("a PNG, JPEG or WebP: a file in a form, base64 or a data: URL in JSON", ""),
        "mask": ("a picture of the same kind and size, with an alpha channel", ""),
        "fit": ('"cover", "contain" or "stretch"', ""),
        "keep": ("a number from 0 to 1, such as 0.5", ""),
        "strength": ("a number from 0 to 1, such as 0.7", ""),
        "blend": ("true or false", ""),
        "codes": ("lists of codes, as /v1/images/encode gives them, such as [[5], [17]]", ""),
        "input_fidelity": ('a text, such as "high"', _IGNORED),
        "complexity": ('a text, such as "low"', _IGNORED),
        "user": ('a text, such as "user-17"', _IGNORED),
        "safety_identifier": ('a text, such as "user-17"', _IGNORED),
        "rank": (
            f"a whole number from 0 to {MAX_IMAGES - 1} in the address",
            "0 is the best image",
        ),
        "last-event-id": (
            'the id of an event, such as "1795511214662-0"',
            "leave it out for all events",
        ),
        "idempotency-key": ('1 to 255 characters, such as "order-17"', ""),
    }
)
_MAX_SHOWN = 30
_EXAMPLE = 'such as {"prompt": "a red apple"}'
WHOLE_BODY = f"Send a JSON object as the body, {_EXAMPLE}."


def in_words(field: str, problem: Mapping[str, Any]) -> str:
    """A validation error of pydantic for a person: what is wanted, and what came instead."""
    what, hint = _WANTED[field]
    tail = f" {hint[0].upper()}{hint[1:]}." if hint else ""
    if problem["type"] == "value_error":  # a check of our own, which has its own words
        return f"{field}: {problem['ctx']['error']}. It must be {what}.{tail}"
    return f"{field} must be {what}{_instead(problem)}.{tail}"


def named(path: Sequence[str]) -> str:
    """The field that is at fault, by where a problem was found: the innermost that has words."""
    inner = ".".join(path[:2])
    return inner if inner in _WANTED else path[0]


def _instead(problem: Mapping[str, Any]) -> str:
    """What was sent, where it is short enough to be of help; of a field too many its name."""
    is_too_many = problem["type"] == "extra_forbidden"
    sent = problem["loc"][-1] if is_too_many else problem.get("input")
    shown = json.dumps(sent) if isinstance(sent, bool | int | float | str) else ""
    if not 0 < len(shown) <= _MAX_SHOWN:
        return ""
    return f"; there is no {shown} in it" if is_too_many else f"; {shown} is not"


def list_of(field: str, model: str, num_levels: int) -> str:
    """For a list that is too long or too short."""
    one = _WANTED[field][0].removesuffix(f", or {_PER_LEVEL}")
    return f"{field} must be {one}, or {_PER_LEVEL}: {model} wants {num_levels} such numbers in it."


def number_of(field: str, numbers: Sequence[float], at: int) -> str:
    """For a list of the right length, of which the number at that index is what none can be."""
    shown = json.dumps(numbers[at]).removesuffix(".0")
    shown = f", {shown}," if len(shown) <= _MAX_SHOWN else ""
    return f"{field} must be {_WANTED[field][0]}; number {at + 1} of the list{shown} is not."


def too_long_number(field: str | None) -> str:
    """For a number with more digits than Python reads, in that field if it is known."""
    max_digits = sys.get_int_max_str_digits()
    if field is None or field not in _WANTED:
        return f"A number in the body has more than {max_digits} digits."
    what, _ = _WANTED[field]
    return f"{field} must be {what}; a number of more than {max_digits} digits is not."


def unknown_field(field: str) -> str:
    """For a field that this request does not have."""
    if field in JobRequest.model_fields:
        return f"{field!r} has no meaning here; /docs lists what has."
    close = get_close_matches(field, JobRequest.model_fields, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else " /docs lists those there are."
    return f"There is no field {field!r}.{hint}"


def broken_json(problem: Mapping[str, Any]) -> str:
    """For a body that JSON's grammar does not allow."""
    place = next((part for part in problem["loc"] if isinstance(part, int)), None)
    at = "" if place is None else f" after {place} characters"
    return f"The body is not valid JSON{at}. {WHOLE_BODY}"
