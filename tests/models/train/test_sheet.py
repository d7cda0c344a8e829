from __future__ import annotations

import torch

from models.configs.preset import SamplingDefaults
from models.drawing.sampling import RowParams
from models.pipeline import load
from models.train.sheet import candidates


def test_samples_are_drawn_by_what_is_given_for_each_level() -> None:
    model = load("tiny-hq")
    drawn = candidates(model, "a heart", SamplingDefaults((1.0, 0.5), (8, 4), num_candidates=2))
    rows = [RowParams(0, n, (1.0, *[0.5] * 4), (8, *[4] * 4)) for n in range(2)]
    wanted = model.generate("a heart", rows)
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(drawn, wanted, strict=True))
