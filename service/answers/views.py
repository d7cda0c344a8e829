"""Views: how callers ask to see an image coarser than it is, and what they may ask of which job.

What there is, models say and workers note with their results: no parameter is known by name here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from models.presets.register import VIEW_PARAMETERS
from service.errors import ImageNotFound, InvalidRequest
from service.jobs import JobStatus, JobView, query


def by_parameter(views: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Each parameter with its values, coarse to fine."""
    found: dict[str, list[str]] = {}
    for parameter, value in views:
        found.setdefault(parameter, []).append(value)
    return found


def asked_for(parameters: Mapping[str, str]) -> tuple[str, str] | None:
    """The view that an address's parameters name, if any; others mean nothing here.

    Raises:
        InvalidRequest: they name two.
    """
    named = [(name, parameters[name]) for name in VIEW_PARAMETERS if name in parameters]
    if len(named) > 1:
        both = " and ".join(name for name, _ in named)
        raise InvalidRequest(f"Ask for one view at a time, not for {both}.", param=named[1][0])
    return named[0] if named else None


def query_for(asked: tuple[str, str], job: JobView) -> str | None:
    """The query by which an image of the job is kept so; None for the image as it is.

    Raises:
        ImageNotFound: the job has none, or none yet.
        InvalidRequest: its images can't be seen so.
    """
    if job.status != JobStatus.SUCCEEDED:
        raise ImageNotFound
    if asked not in job.views:
        raise _refusal(asked, job)
    return None if asked == job.views[-1] else query(*asked)


def _refusal(asked: tuple[str, str], job: JobView) -> InvalidRequest:
    name = asked[0]
    values = by_parameter(job.views).get(name)
    if not values:
        model = job.job.recipe.model
        return InvalidRequest(f"This image of {model} has no {name}: leave it out.", param=name)
    listed = ", ".join(values[:-1]) + " or " * (len(values) > 1) + values[-1]
    return InvalidRequest(f"{name} can be {listed} for this image.", param=name)
