"""The 650M RQ text model with random weights: converted, loaded, a picture drawn, on a CPU.

Run by hand: `pytest -m weights -s tests/models/test_rq_full_size.py`. It needs 9 GB below the
temporary folder, 6 GB of memory, and some minutes; it removes its files.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.presets import get_preset
from tests.models.random_rq_checkpoint import write_random_rq_checkpoint

pytestmark = [pytest.mark.weights, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
# VmHWM and not getrusage: the latter starts with the peak of the process that forked this one.
_DRAW = """
import json, sys, time
from pathlib import Path
import torch
from models.drawing.generate import run_to_end
from models.drawing.sampling import RowParams
from models.measure import machine
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
codes = run_to_end(batch, prefix, params)
out["codes_s"] = 256 / (time.monotonic() - began)
pixels = pipeline.pixels(codes)
out["picture_s"] = time.monotonic() - began
out["pixels"] = list(pixels.shape)
shape = pipeline.preset.stage2
layers = 64 * shape.body.n_layers + 256 * shape.head.n_layers
read = layers * 12 * shape.embed_dim**2 + 256 * shape.vocab_sizes[0] * shape.embed_dim
ceiling = machine.measure(torch.device("cpu"), [dtype]).bytes_s
out["memory_share"] = read * dtype.itemsize * out["codes_s"] / 256 / ceiling
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


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("full") / "cc3m"
    write_random_rq_checkpoint(folder, get_preset("rq-cc3m-650m"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_converts_and_draws_within_its_memory(
    dtype: str, official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(_CONVERT, official, tmp_path / "ours", dtype)
    weights = (2 if dtype == "bfloat16" else 4) * 654_061_568 + 4 * 104_402_051
    for packed in ("mapped", "packed"):
        found: dict[str, Any] = json.loads(_run(_DRAW, tmp_path / "ours", dtype, packed))
        with capsys.disabled():
            sys.stdout.write(f"\n{packed}: {found}\n")
        assert found["peak"] < 1.25 * weights
        assert found["pixels"] == [1, 3, 256, 256]
