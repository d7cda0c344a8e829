from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.measure import comparison
from models.measure.comparison import Timing
from models.rq_configs import RQTransformerConfig
from service.cli import main


def test_both_models_have_equal_width_layers_and_codes_an_image() -> None:
    flat, deep = comparison.presets(64, 4, 16, 100)
    assert isinstance(flat.stage2, RQTransformerConfig)
    assert isinstance(deep.stage2, RQTransformerConfig)
    assert flat.codes_per_image == deep.codes_per_image == 256
    assert flat.stage2.body.n_layers == 16
    assert (deep.stage2.body.n_layers, deep.stage2.head.n_layers) == (14, 2)
    for preset in (flat, deep):
        assert preset.size == (256, 256)
        assert preset.stage1.code_shape == (preset.num_steps, preset.depth)


def test_the_table_says_how_many_times_faster() -> None:
    timings = [
        Timing("16×16×1", "float32", 4, 3.0, 1.0),
        Timing("8×8×4", "float32", 4, 1.0, 1.0),
    ]
    line = comparison.table(timings).splitlines()[1]
    seen = " ".join(line.split())
    assert seen == "float32 4 3.000 + 1.000 1.000 + 1.000 2.00x 3.00x"


@pytest.mark.timeout(120)
def test_the_command_measures_prints_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    shape = ["--layers", "2", "--width", "32", "--heads", "2", "--vocab", "16"]
    plot = tmp_path / "compare.png"
    main(["bench", "--compare", *shape, "--batch", "1", "--plot", str(plot)])
    lines = capsys.readouterr().out.splitlines()
    record = json.loads(lines[-1])
    assert [t["grid"] for t in record["timings"]] == ["16×16×1", "8×8×4"]
    assert all(t["picture_s"] > 0 for t in record["timings"])
    assert plot.stat().st_size > 1000
