"""The command's output; how long things took is nobody's assertion."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest
import torch

from models.errors import ConfigError
from models.measure.bench import add_arguments, run

_SMALL = ["--layers=2", "--width=32", "--heads=4", "--text=6", "--image=16", "--vocab=64"]
_SMALL += ["--threads=1"]


def _bench(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[list[str], dict[str, Any]]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert run(parser.parse_args(arguments)) == 0
    lines = capsys.readouterr().out.splitlines()
    record: dict[str, Any] = json.loads(lines[-1])
    return lines, record


def test_a_shape_is_measured_at_every_size_and_type(capsys: pytest.CaptureFixture[str]) -> None:
    types = ("--batch", "2", "5", "--dtype", "float32", "bfloat16")
    lines, record = _bench(capsys, *_SMALL, *types, "--no-packed")
    assert [(r["batch"], r["setting"]) for r in record["results"]] == [
        (2, "float32"),
        (2, "bfloat16"),
        (5, "float32"),
        (5, "bfloat16"),
    ]
    for result in record["results"]:
        assert result["vs_concatenated"] > 0
        assert result["vs_recomputed"] > 0
        assert result["pixels_s"] is None  # no codec has a grid of 16 codes here
    assert sum(line.startswith(("float32  ", "bfloat16  ")) for line in lines) == 4
    assert record["machine"]["threads"] == torch.get_num_threads()
    assert record["machine"]["torch"] == torch.__version__
    assert set(record["ceilings"]["flops"]) == {"float32", "bfloat16"}
    assert record["command"].startswith("mindalle")
    assert record["date"][:2] == "20"
    assert record["model"]["n_layers"] == 2


def test_a_preset_is_measured_with_its_pixels(capsys: pytest.CaptureFixture[str]) -> None:
    quick = ("--batch", "2", "--no-baselines", "--threads", "1")
    lines, record = _bench(capsys, "--preset", "tiny-class", *quick)
    (result,) = record["results"]
    assert result["pixels_s"] > 0
    assert result["vs_concatenated"] is None
    assert any("2 layers of 40, 5 heads, 1 + 16 positions" in line for line in lines)


def test_a_preset_with_a_clip_is_measured_with_its_ranking(
    capsys: pytest.CaptureFixture[str],
) -> None:
    quick = ("--batch", "2", "--no-baselines", "--threads", "1")
    _, record = _bench(capsys, "--preset", "emoji", *quick)
    (result,) = record["results"]
    assert result["rerank_s"] > 0
    assert 0 < result["images_s"] < result["stage2_images_s"]


def test_quantised_weights(capsys: pytest.CaptureFixture[str]) -> None:
    quick = ("--batch", "1", "--no-baselines", "--dtype", "bfloat16")
    _, record = _bench(capsys, *_SMALL, *quick, "--quantization", "none", "int8")
    assert [r["setting"] for r in record["results"]] == ["bfloat16", "bfloat16+int8"]


def test_a_type_that_the_cpu_lacks_is_said_to_be_slow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    quick = ("--batch", "1", "--no-baselines", "--dtype", "float32", "bfloat16")
    lines, _ = _bench(capsys, *_SMALL, *quick)
    assert [line for line in lines if "slower" in line] == [
        "bfloat16: this CPU has no instructions for bfloat16: about four times slower than float32"
    ]


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ("--naive --checkpoint somewhere", "--checkpoint: changes nothing with --naive"),
        ("--naive --dtype float32 bfloat16", "--dtype: with --naive only one"),
        ("--naive --compare", "--compare: changes nothing with --naive"),
        ("--naive --packed", "--packed: changes nothing with --naive"),
        ("--naive --no-baselines", "--no-baselines: changes nothing with --naive"),
        ("--compare --baselines", "--baselines: changes nothing with --compare"),
        ("--naive --layers 40", "--layers: changes nothing with --naive"),
        ("--naive --preset tiny --text 0", "--text: changes nothing with --naive"),
        ("--compare --preset tiny", "--preset: changes nothing with --compare"),
        ("--compare --image 64", "--image: changes nothing with --compare"),
        ("--compare --checkpoint somewhere --width 8", "--width: changes nothing with --check"),
        ("--compare --checkpoint somewhere --enhance-width 9", "--enhance-width: changes nothing"),
        ("--compare --quantization int8", "is not measured with"),
        ("--checkpoint somewhere --preset tiny", "--preset: changes nothing with --checkpoint"),
        ("--preset tiny --text 0", "--text: changes nothing with --preset"),
        ("--plot plot.png", "--plot: changes nothing without --compare"),
        ("--naive --enhance-width 64", "--enhance-width: changes nothing without --compare"),
    ],
)
def test_a_flag_that_would_be_left_out_is_refused(left_out: str, said: str) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(ConfigError, match=said):
        run(parser.parse_args(left_out.split()))


@pytest.mark.parametrize("wrong", [["--preset", "mini"], ["--dtype", "int4"]])
def test_a_wrong_choice_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(wrong)
    assert "invalid choice" in capsys.readouterr().err
