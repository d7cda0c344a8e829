"""The model that these files' engines run. A test that changes it does so by `monkeypatch`."""

from __future__ import annotations

import pytest

from models.pipeline import Pipeline, load


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    return load("tiny")
