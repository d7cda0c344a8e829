"""Pipelines with seeded random weights, built once per session. Nobody may change their weights."""

from __future__ import annotations

import pytest
import torch

from models.configs.prior import Prompt
from models.pipeline import LoadOptions, Pipeline, load
from tests.models.priors import OTHERS, load_any

TINY = ("tiny", "tiny-class", "tiny-uncond")
TAMING = ("tiny-taming-class", "tiny-taming-uncond")
PROMPTS: dict[str, tuple[Prompt, Prompt]] = {
    "text": ("a heart", "zz 9!"),
    "class": (1, 5),
    "none": (None, ""),
}


@pytest.fixture(scope="session")
def tiny() -> Pipeline:
    """Text prefix, float32 on the CPU."""
    return load("tiny")


@pytest.fixture(scope="session", params=TINY)
def every_tiny(request: pytest.FixtureRequest) -> Pipeline:
    """Text, class and empty prefix, one after the other."""
    return load(request.param)


@pytest.fixture(scope="session", params=(*TINY, *TAMING, *OTHERS))
def every_prior(request: pytest.FixtureRequest) -> Pipeline:
    """The same, VQ-GAN's own models and the families that only tests have."""
    return load_any(request.param)


@pytest.fixture(scope="session", params=(*TAMING, *OTHERS))
def every_other(request: pytest.FixtureRequest) -> Pipeline:
    """VQ-GAN's own models and the families that only tests have."""
    return load_any(request.param)


@pytest.fixture(scope="session", params=(*TINY, *TAMING))
def every_exact(request: pytest.FixtureRequest) -> Pipeline:
    """minDALL-E's and VQ-GAN's in float64 and unpacked: to compare ways of computing one number."""
    return load(request.param, options=LoadOptions(dtype=torch.float64, packed=False))
