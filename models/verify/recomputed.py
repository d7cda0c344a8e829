"""The register of checks: which recorded array is computed again by what.

A family with arrays of its own brings a file of checks like `of_prior` and a line here. Where it
means something else by an array that others have, too, `families` calls its check `family/array`.
"""

from __future__ import annotations

from models.configs import PriorConfig
from models.families import prior_family
from models.verify import of_codec, of_prior, of_rq
from models.verify.check import Check

CHECKS: dict[str, Check] = of_prior.CHECKS | of_codec.CHECKS | of_rq.CHECKS


def checks_of(config: PriorConfig) -> dict[str, Check]:
    """Array → check, for sets of such a model; first those that a whole set has."""
    own = {name.rpartition("/")[2]: CHECKS[name] for name in expected_of(config)}
    return own | {name: check for name, check in CHECKS.items() if name not in own}


def expected_of(config: PriorConfig) -> list[str]:
    """The checks of a set with all numbers of such a model."""
    recorded = prior_family(config).recorded(config)
    return [name for name in CHECKS if name in recorded]
