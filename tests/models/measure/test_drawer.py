from __future__ import annotations

from pathlib import Path

import torch

from models.drawing.sampling import RowParams
from models.measure.drawer import Setting, draw
from models.measure.drawings import Drawings, asks_for
from models.pictures import to_bytes
from models.pipeline import Pipeline


def test_rows_are_shared_and_every_picture_is_that_of_its_prompt_alone(
    tiny: Pipeline, tmp_path: Path
) -> None:
    asks, drawings = asks_for(["one", "two", "one"], 3), Drawings(tmp_path)
    setting = Setting(temperature=0.7, top_k=5, num_candidates=3, keep=3)
    assert sorted(a.name for a in draw(tiny, drawings, asks, setting, 4)) == [a.name for a in asks]
    for ask, drawn in zip(asks, drawings.of(asks), strict=True):
        params = [RowParams(ask.seed, n, 0.7, 5) for n in range(3)]
        alone = sorted(tiny.generate(ask.prompt, params), key=lambda picture: picture.candidate)
        wanted = to_bytes(torch.stack([picture.pixels for picture in alone]))
        assert (to_bytes(drawn.pixels()) == wanted).all()


def test_a_setting_is_over_the_models_own_and_names_its_folder(tiny: Pipeline) -> None:
    own = tiny.preset.sampling
    assert Setting(num_candidates=2).over(own).temperature == own.temperature
    assert Setting(top_k=0, num_candidates=2).over(own).top_k is None
    assert Setting(top_k=7, top_p=0.5).name == "k7p0.5-16-16"
    assert Setting(keep=1).name == "default-16-1"
