"""Text models of several codes a position with random weights: converted, loaded, a picture drawn.

650M of RQ and 580M of HQ, on a CPU. By hand: `pytest -m weights -s
tests/models/test_several_codes_full_size.py`. It needs 9 GB below the temporary folder, 6 GB of
memory, and some minutes; it removes its files.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from models.configs.hq import HQVAEConfig
from models.configs.preset import Preset
from models.families import build_codec, build_prior
from models.files.weights import on_meta
from models.presets.register import get_preset
from tests.models.random_hq_checkpoint import write_random_hq_checkpoint
from tests.models.random_rq_checkpoint import write_random_rq_checkpoint

pytestmark = [pytest.mark.weights, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
# VmHWM and not getrusage: the latter starts with the peak of the process that forked this one.
_DRAW = """
import json, sys, time
from pathlib import Path
import torch
from models.drawing.candidates import draw_all
from models.drawing.sampling import RowParams
from models.measure import machine
from models.measure.comparison import passes
from models.pipeline import LoadOptions, load
def peak():
    status = open("/proc/self/status").read()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
before = peak()
dtype = getattr(torch, sys.argv[2])
began = time.monotonic()
pipeline = load("", Path(sys.argv[1]), LoadOptions(dtype=dtype, packed=sys.argv[3] == "packed"))
out = {"type": sys.argv[2], "loaded_s": time.monotonic() - began, "peak": peak() - before}
params = [RowParams(seed=0, top_k=1024, top_p=0.95)]
prefix = pipeline.prefix(pipeline.encode("a red heart"))
batch = pipeline.batch(1)
began = time.monotonic()
codes = draw_all(batch, prefix, params).codes
preset = pipeline.preset
out["codes_s"] = preset.codes_per_image / (time.monotonic() - began)
pixels = pipeline.pixels(codes)
out["picture_s"] = time.monotonic() - began
out["pixels"] = list(pixels.shape)
shape, runs = preset.stage2, passes(preset)
layers = runs.body * shape.body.n_layers + runs.head * shape.head.n_layers
read = layers * 12 * shape.embed_dim**2 + runs.head * preset.vocab_sizes[0] * shape.embed_dim
ceiling = machine.measure(torch.device("cpu"), [dtype]).bytes_s
pictures_s = out["codes_s"] / preset.codes_per_image
out["memory_share"] = read * dtype.itemsize * pictures_s / ceiling
out["ceiling_gb_s"] = ceiling / 1e9
print(json.dumps(out))
"""
_CONVERT = """
import sys
from pathlib import Path
import torch
from models.files.convert import convert
convert(Path(sys.argv[1]), Path(sys.argv[2]), getattr(torch, sys.argv[3]))
"""


def _run(script: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def _num_numbers(module: nn.Module) -> int:
    return sum(tensor.numel() for tensor in module.state_dict().values())


@pytest.fixture(scope="module", params=["rq-cc3m-650m", "hq-cc15m"])
def official(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Preset, Path]]:
    preset, folder = get_preset(request.param), tmp_path_factory.mktemp("full") / "official"
    if isinstance(preset.stage1, HQVAEConfig):
        write_random_hq_checkpoint(folder, preset)
    else:
        write_random_rq_checkpoint(folder, preset)
    yield preset, folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_converts_and_draws_within_its_memory(
    dtype: str,
    official: tuple[Preset, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    preset, folder = official
    _run(_CONVERT, folder, tmp_path / "ours", dtype)
    codec = on_meta(lambda: build_codec(preset.stage1))
    prior = on_meta(lambda: build_prior(preset.stage2, codec))
    weights = (2 if dtype == "bfloat16" else 4) * _num_numbers(prior) + 4 * _num_numbers(codec)
    for packed in ("mapped", "packed"):
        found: dict[str, Any] = json.loads(_run(_DRAW, tmp_path / "ours", dtype, packed))
        with capsys.disabled():
            sys.stdout.write(f"\n{preset.name}, {packed}, {weights:,} bytes: {found}\n")
        assert found["peak"] < 1.25 * weights
        assert found["pixels"] == [1, 3, 256, 256]
    shutil.rmtree(tmp_path / "ours")
