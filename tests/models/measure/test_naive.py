from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

from models.measure import naive
from models.measure.naive import Timing
from models.pipeline import LoadOptions, load
from models.presets.register import PRESETS
from service.cli import main


def test_every_family_is_in_the_table_and_known() -> None:
    assert set(naive.FAMILIES) <= PRESETS.keys()
    kinds = {type(PRESETS[name].stage2) for name in naive.FAMILIES}
    assert len(kinds) == len(naive.FAMILIES) - 1  # the Image Transformer has two heads


def test_a_ratio_is_how_many_times_faster() -> None:
    timing = Timing("x", 16, 10, 3, cached_s=2.0, naive_s=50.0)
    assert " ".join(naive.line(timing).split()) == "x 16 30 2.00s 50.0s 25.0x"


@pytest.mark.parametrize(
    "name",
    ["tiny", "tiny-rq-class", "tiny-hq-scales", "tiny-pixelcnn++", "tiny-image-transformer"],
)
def test_both_ways_of_every_kind_are_timed(name: str) -> None:
    (timing,) = naive.timings([name], LoadOptions(packed=False), [2])
    assert (timing.model, timing.rows, timing.depth) == (name, 2, PRESETS[name].depth)
    assert timing.cached_s > 0
    assert timing.naive_s > 0


@pytest.mark.parametrize(("name", "num_passes"), [("tiny", 1), ("tiny-rq", 4), ("tiny-hq", 2)])
def test_a_step_takes_a_pass_for_all_codes_that_are_drawn_at_once(
    name: str, num_passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HQ draws a coarse code, and then the four finer ones."""
    pipeline, passes = load(name, options=LoadOptions(packed=False)), list[Tensor]()
    assert isinstance(pipeline.stage2, nn.Module)
    kind, preset = type(pipeline.stage2), pipeline.preset
    forward = kind.forward

    def counted(model: nn.Module, ids: Tensor, codes: Tensor) -> object:
        passes.append(codes)
        return forward(model, ids, codes)

    monkeypatch.setattr(kind, "forward", counted)
    codes = torch.zeros((1, preset.num_steps, preset.depth), dtype=torch.int64)
    draw_again, _ = naive._step(pipeline, codes)
    draw_again(2)
    assert len(passes) == num_passes


def test_the_command_prints_a_table_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["bench", "--naive", "--preset", "tiny-pixelcnn++-gray", "--batch", "1", "2"])
    _, heading, *rows, last = capsys.readouterr().out.splitlines()
    assert heading == naive.HEADING
    assert [row.split()[:3] for row in rows] == [
        ["tiny-pixelcnn++-gray", "1", "48"],
        ["tiny-pixelcnn++-gray", "2", "48"],
    ]
    assert [timing["rows"] for timing in json.loads(last)["timings"]] == [1, 2]
