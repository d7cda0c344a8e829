from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from models.configs.hq import HQTransformerConfig
from models.configs.rq import RQTransformerConfig
from models.drawing.candidates import draw_all
from models.drawing.generate import Batch
from models.drawing.sampling import RowParams
from models.enhancer import random_upsampler
from models.files import enhance_folder
from models.measure import comparison
from models.measure.comparison import Timing
from models.pipeline import LoadOptions, load_random
from models.presets.register import get_preset
from models.stage2.hq_transformer import HQTransformer
from models.stage2.prior import Prior
from models.stage2.rq_transformer import RQTransformer
from models.stage2.stack import Stack
from service.cli import main
from tests.models.random_checkpoint import tiny_with_words, write_random_checkpoint


def test_the_models_have_equal_width_and_layers() -> None:
    flat, deep, cells = comparison.presets(64, 4, 16, 100, 128)
    assert isinstance(flat.stage2, RQTransformerConfig)
    assert isinstance(deep.stage2, RQTransformerConfig)
    assert isinstance(cells.stage2, HQTransformerConfig)
    assert flat.codes_per_image == deep.codes_per_image == 256
    assert cells.codes_per_image == 64 + 256
    assert flat.stage2.body.n_layers == 16
    assert flat.enhancement is not None
    assert flat.enhancement.shape.code_shape == (256, 4)
    assert flat.enhancement.shape.summary.endswith("4 + 2 layers of 128")
    enhance_folder.check(flat.enhancement.shape, "shape")
    assert comparison.presets(64, 4, 16, 100)[0].enhancement is None
    for model in (deep.stage2, cells.stage2):
        assert (model.body.n_layers, model.head.n_layers, model.embed_dim) == (14, 2, 64)
    for preset in (flat, deep, cells):
        assert preset.size == (256, 256)
        assert preset.stage1.code_shape == (preset.num_steps, preset.depth)


def _stacks(prior: Prior) -> dict[str, Stack]:
    if isinstance(prior, RQTransformer):
        return {"body": prior.body_transformer, "head": prior.head_transformer}
    assert isinstance(prior, HQTransformer)
    return {"body": prior.body, "head": prior.head}


def test_passes_are_counted_by_running_them() -> None:
    """A cell's finer codes take one pass of the head together, RQ's codes one each."""
    for preset in comparison.presets(16, 2, 8, 8):
        small = replace(preset, stage1=replace(preset.stage1, ch=32))
        prior = load_random(small, LoadOptions(packed=False)).stage2
        runs = dict.fromkeys(("body", "head"), 0)

        def count(stack: str, runs: dict[str, int] = runs) -> Callable[..., None]:
            def called(*_: object) -> None:
                runs[stack] += 1

            return called

        for name, stack in _stacks(prior).items():
            for block in list(stack.blocks)[:1]:
                # Once a pass, whether over a sequence or of one position.
                block.get_submodule("ln1").register_forward_hook(count(name))
        params = [RowParams(seed=0, candidate=i) for i in range(2)]
        draw_all(Batch(prior, 2), prior.prefill(torch.zeros(1, 1, dtype=torch.int64)), params)
        assert runs == asdict(comparison.passes(preset)), preset.name


def test_the_table_says_how_many_times_faster_and_what_enhancing_adds() -> None:
    models = comparison.presets(16, 2, 8, 8, 16)
    seconds = ((3.0, 0.5), (1.0, None), (0.5, None))
    timings = [
        Timing(preset.name, "float32", 4, codes_s, 1.0, enhance_s)
        for preset, (codes_s, enhance_s) in zip(models, seconds, strict=True)
    ]
    passes, _, line = comparison.table(timings, models).splitlines()[:3]
    assert " ".join(passes.split()) == "passes a picture 256 + 0 64 + 256 64 + 128 1 + 1"
    seen = " ".join(line.split())
    expected = "3.000 + 1.000 1.00x 1.000 + 1.000 2.00x 0.500 + 1.000 2.67x 0.500 +12.5%"
    assert seen == f"float32 4 {expected}"


@pytest.mark.timeout(240)
def test_the_command_measures_prints_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = ["--layers", "2", "--width", "32", "--heads", "2", "--vocab", "16"]
    plot = tmp_path / "compare.png"
    main(["bench", "--compare", *shape, "--batch", "1", "--plot", str(plot)])
    lines = capsys.readouterr().out.splitlines()
    timings = json.loads(lines[-1])["timings"]
    assert [t["grid"] for t in timings] == ["16×16×1", "8×8×4", "8×8×(1+4)"]
    assert all(t["picture_s"] > 0 for t in timings)
    assert plot.stat().st_size > 1000


def test_a_checkpoints_pictures_are_timed_plain_and_enhanced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_random_checkpoint(tmp_path, tiny_with_words())
    command = ["bench", "--compare", "--checkpoint", str(tmp_path), "--batch", "2"]
    assert main(command) == 2
    assert "has no enhancement to compare with" in capsys.readouterr().err
    own = get_preset("tiny-enhance").enhancement
    assert own is not None
    enhance_folder.save(tmp_path / "finer", own, random_upsampler(own, 3).state_dict().items())
    with (tmp_path / "config.yaml").open("a") as file:
        file.write("enhance: finer\n")
    assert main(command) == 0
    *_, record = capsys.readouterr().out.splitlines()
    (timing,) = json.loads(record)["timings"]
    assert timing["enhance_s"] > 0
    assert timing["added"] == timing["enhance_s"] / timing["picture_s"]


def test_what_draws_the_plot_is_missed_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    shape = ["--layers", "2", "--width", "32", "--heads", "2", "--vocab", "16"]
    plot = str(tmp_path / "compare.png")
    assert main(["bench", "--compare", *shape, "--batch", "1", "--plot", plot]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert "matplotlib is not installed" in err
    assert "pip install 'mindalle-serve[worker,eval]'" in err
