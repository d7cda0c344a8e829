import os
import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

from models.drawing.sampling import RowParams
from models.pipeline import LoadOptions, load
from models.stage2.packing import PackedLinear, can_pack, is_native, pack_linears
from models.stage2.transformer import Transformer
from tests.models.mindalle import shape, transformer

_CPU = torch.device("cpu")
_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def _needs(dtype: torch.dtype) -> pytest.MarkDecorator:
    """Skip where this CPU, or this build of torch, has no packed kernels for the type."""
    what = f"no packed kernels for {dtype} with {torch.backends.cpu.get_cpu_capability()}"
    return pytest.mark.skipif(not can_pack(_CPU, dtype), reason=what)


needs_packing = _needs(torch.float32)
needs_packed_bfloat16 = _needs(torch.bfloat16)


@pytest.mark.parametrize("dtype", [pytest.param(dtype, marks=_needs(dtype)) for dtype in _TYPES])
def test_what_this_cpu_packs(dtype: torch.dtype) -> None:
    """With `pytest -rs` it says which types this CPU can't pack and why."""
    layer = nn.Linear(8, 8).requires_grad_(False).to(dtype)
    assert PackedLinear(layer.weight, layer.bias)(torch.ones(1, 8, dtype=dtype)).dtype == dtype


@needs_packing
@pytest.mark.parametrize("dtype", _TYPES)
def test_the_library_refuses_just_what_its_check_denies(dtype: torch.dtype) -> None:
    weight = torch.ones(8, 8, dtype=dtype)
    if can_pack(_CPU, dtype):
        PackedLinear(weight, None)
    else:
        with pytest.raises(RuntimeError, match="needs the cpu support"):
            PackedLinear(weight, None)


def test_only_a_cpu_packs() -> None:
    assert not can_pack(torch.device("meta"))


def test_a_type_is_native_where_the_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_supported in (True, False):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: is_supported)  # noqa: B023  called before the next round
        assert is_native(_CPU, torch.bfloat16) == is_supported
    assert is_native(_CPU, torch.float32)
    assert is_native(torch.device("cuda"), torch.bfloat16)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the limits are those of x86-64")
def test_bfloat16_is_served_by_a_cpu_without_avx512() -> None:
    """oneDNN and torch are told to use nothing above AVX2, which they read once, at their start."""
    program = (
        "import torch\n"
        "from models.drawing.sampling import RowParams\n"
        "from models.pipeline import LoadOptions, load\n"
        "pipeline = load('tiny', options=LoadOptions(dtype=torch.bfloat16))\n"
        "assert pipeline.generate('a cat', [RowParams(1)])[0].pixels.isfinite().all()\n"
        "print(pipeline.options.caveat)\n"
    )
    limits = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | limits,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "about four times slower than float32" in done.stdout


@pytest.mark.parametrize("dtype", _TYPES)
def test_every_type_loads_whatever_the_cpu_has(dtype: torch.dtype) -> None:
    pipeline = load("tiny", options=LoadOptions(dtype=dtype))
    packed = [m for m in transformer(pipeline).modules() if isinstance(m, PackedLinear)]
    assert bool(packed) == can_pack(_CPU, dtype)
    assert pipeline.generate("a cat", [RowParams(1, top_k=8)])[0].pixels.isfinite().all()


@needs_packing
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 24), (1, 24), (2, 3, 24)])
def test_a_packed_layer_computes_the_same(shape: tuple[int, ...], has_bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(24, 40, bias=has_bias).requires_grad_(False)
    packed = PackedLinear(linear.weight, linear.bias)
    x = torch.randn(shape)
    torch.testing.assert_close(packed(x), linear(x), atol=1e-5, rtol=1e-5)
    assert (packed.in_features, packed.out_features) == (24, 40)
    assert packed.weight_bytes == 24 * 40 * 4


@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(torch.float32, marks=needs_packing),
        pytest.param(torch.bfloat16, marks=needs_packed_bfloat16),
    ],
)
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_a_gelu_behind_a_layer_is_packed_with_it(dtype: torch.dtype, approximate: str) -> None:
    torch.manual_seed(0)
    gelu = nn.GELU(approximate)
    layers = nn.Sequential(nn.Linear(24, 96), gelu, nn.Linear(96, 24), nn.Dropout(0.0))
    layers = layers.eval().requires_grad_(False).to(dtype)
    x = torch.randn(5, 24, dtype=dtype)
    before = layers(x)
    assert pack_linears(layers) == 2
    assert not [m for m in layers.modules() if type(m) is nn.GELU]
    margin = 1e-5 if dtype is torch.float32 else 0.02
    torch.testing.assert_close(layers(x), before, atol=margin, rtol=margin)


@needs_packing
def test_another_activation_stays() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(24, 24), nn.SiLU(), nn.Linear(24, 24))
    layers = layers.eval().requires_grad_(False)
    x = torch.randn(5, 24)
    before = layers(x)
    assert pack_linears(layers) == 2
    torch.testing.assert_close(layers(x), before)


@needs_packed_bfloat16
def test_bfloat16_is_as_close_as_its_rounding() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 32).requires_grad_(False)
    x = torch.randn(5, 64)
    low = linear.to(torch.bfloat16)
    exact = low.weight.double() @ x.bfloat16().double().T + low.bias.double()[:, None]
    packed = PackedLinear(low.weight, low.bias)
    torch.testing.assert_close(packed(x.bfloat16()).double(), exact.T, atol=0.02, rtol=0.01)


@needs_packing
def test_a_view_is_packed_as_its_contents() -> None:
    weight = torch.randn(30, 20).T  # [20, 30], not contiguous
    x = torch.randn(3, 30)
    torch.testing.assert_close(PackedLinear(weight, None)(x), x @ weight.T, atol=1e-5, rtol=1e-5)


@needs_packing
def test_every_linear_is_replaced_and_nothing_else() -> None:
    torch.manual_seed(0)
    stage2 = Transformer(shape("tiny")).eval().requires_grad_(False)
    prefix, codes = torch.randint(128, (2, 8)), torch.randint(64, (2, 16))
    before, text_before = stage2(prefix, codes)
    assert pack_linears(stage2, keep=["head_txt"]) == 2 * 4 + 1  # qkv, proj, two of each MLP; head
    assert [m for m in stage2.modules() if type(m) is nn.Linear] == [stage2.head_txt]
    assert pack_linears(stage2) == 1
    assert pack_linears(stage2) == 0
    after, text_after = stage2(prefix, codes)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(text_after, text_before, atol=1e-4, rtol=1e-4)
