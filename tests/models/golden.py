"""Where the recorded numbers are. What each array means is in the checks that read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).parents[1] / "golden"
SETS = ("mindalle_text", "igpt_cls", "igpt_uncond")


def arrays(name: str) -> dict[str, NDArray[Any]]:
    with np.load(GOLDEN / name / "expected.npz") as archive:
        return {key: archive[key] for key in archive.files}


def facts(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GOLDEN / name / "expected.json").read_text("utf-8"))
    return content
