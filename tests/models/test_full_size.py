"""The full 1.3B with random weights: converted, loaded in bfloat16, sampled, on a CPU.

Run by hand: `pytest -m weights -s tests/models/test_full_size.py`. It needs 14 GB below the
temporary folder, 7 GB of memory, and some minutes; it removes its files.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.files.places import STAGE_FILES
from models.presets.register import get_preset
from tests.models.random_checkpoint import write_random_checkpoint

pytestmark = [pytest.mark.weights, pytest.mark.timeout(3600)]

GB = 10**9
ROOT = Path(__file__).parents[2]
# VmHWM and not getrusage: the latter starts with the peak of the process that forked this one.
_SHARED = """
import time
def peak():
    status = open("/proc/self/status").read()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
def seconds_per_code(batch):
    batch.step()
    began = time.monotonic()
    for _ in range(8):
        batch.step()
    return (time.monotonic() - began) / 8
"""
_CONVERT = """
import json, sys
from pathlib import Path
import torch
from models.files.convert import convert
began = time.monotonic()
dtype = getattr(torch, sys.argv[3]) if sys.argv[3] != "same" else None
convert(Path(sys.argv[1]), Path(sys.argv[2]), dtype)
print(json.dumps({"peak": peak(), "seconds": time.monotonic() - began}))
"""
_LOAD = """
import json, sys
from pathlib import Path
import torch
from models.files.checkpoint import load_stage1, load_stage2, load_tokenizer, open_checkpoint
began = time.monotonic()
checkpoint = open_checkpoint(Path(sys.argv[1]))
stage2 = load_stage2(checkpoint, dtype=torch.bfloat16)
stage1 = load_stage1(checkpoint)  # as it is served: float32
out = {"peak": peak(), "seconds": time.monotonic() - began}
out["weights_as_bf16"] = 2 * sum(p.numel() for m in (stage1, stage2) for p in m.parameters())
from models.drawing.generate import Batch
from models.drawing.sampling import RowParams
with torch.inference_mode():
    ids, _ = load_tokenizer(checkpoint).encode("a red heart")
    batch = Batch(stage2, 1)
    batch.admit(stage2.prefill(torch.tensor([ids])), [RowParams(seed=0, top_k=256)])
    out["seconds_per_code"] = seconds_per_code(batch)
    out["sound"] = batch.are_sound([0])
out["peak_after_codes"] = peak()
out["bytes_per_code"] = sum(p.nbytes for m in (stage2.blocks, stage2.head) for p in m.parameters())
print(json.dumps(out))
"""


# As a worker loads it: weights packed, which copies them, or mapped as they are.
_SERVE = """
import json, sys
from pathlib import Path
import torch
from models.pipeline import LoadOptions, load
began = time.monotonic()
packed = sys.argv[2] == "packed"
pipeline = load("", Path(sys.argv[1]), LoadOptions(dtype=torch.bfloat16, packed=packed))
out = {"setting": sys.argv[2], "peak": peak(), "seconds": time.monotonic() - began}
from models.measure import machine
from models.drawing.sampling import RowParams
batch = pipeline.batch(1)
batch.admit(pipeline.prefix(pipeline.encode("a red heart")), [RowParams(seed=0, top_k=256)])
out["seconds_per_code"] = seconds_per_code(batch)
out["sound"] = batch.are_sound([0])
config = pipeline.preset.stage2
width = config.embed_dim
read = 2 * (config.n_layers * 12 * width**2 + config.vocab_size_img * width)  # bytes a code needs
ceiling = machine.measure(torch.device("cpu"), [torch.bfloat16]).bytes_s
out["memory_share"] = read / out["seconds_per_code"] / ceiling
out["ceiling_gb_s"] = ceiling / 1e9
print(json.dumps(out))
"""


def _run(script: str, *arguments: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _SHARED + script, *map(str, arguments)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("full") / "1.3B"
    write_random_checkpoint(folder, get_preset("mindalle-1.3b"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("stored", ["same", "bfloat16"])
def test_conversion_and_loading_keep_within_their_memory(
    official: Path, tmp_path: Path, stored: str
) -> None:
    file_bytes = sum((official / name).stat().st_size for name in STAGE_FILES.values())
    target = tmp_path / "converted"
    converted = _run(_CONVERT, official, target, stored)
    loaded = _run(_LOAD, target)
    served = [_run(_SERVE, target, setting) for setting in ("packed", "mapped")]
    measured = {
        "stored": stored,
        "file": file_bytes,
        "convert": converted,
        "load": loaded,
        "serve": served,
    }
    print(json.dumps(measured))  # noqa: T201 - the numbers are what this is run for
    shutil.rmtree(target)
    assert converted["peak"] < file_bytes + GB
    assert loaded["peak"] < 1.25 * loaded["weights_as_bf16"]
    assert loaded["sound"] == [True]
    for setting in served:
        assert setting["peak"] < 1.25 * loaded["weights_as_bf16"]
        assert setting["sound"] == [True]
