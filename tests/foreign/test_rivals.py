from __future__ import annotations

import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.foreign.rivals import RIVALS, Address, Engine, Rival, body, ourselves

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(1800)]

ENGINE = Engine("tiny", num_rows=8, num_threads=1)
BODIES = [body(f"thing {seed}", seed, 3, top_k=7 + seed) for seed in range(4)]


def pictures(address: Address) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Pixels of the answers."""
    answers = [httpx.post(address.url, json=each, timeout=60, trust_env=False) for each in BODIES]
    files = [address.picture(answer) for answer in answers]
    return [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_a_rival_serves_the_same_pictures(rival: Rival, tmp_path: Path) -> None:
    with ourselves(tmp_path, ENGINE) as address:
        ours = pictures(address)
    with rival.at_work(tmp_path, ENGINE) as address:
        theirs = pictures(address)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)
