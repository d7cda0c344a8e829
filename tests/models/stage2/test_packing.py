import pytest
import torch
from torch import nn

from models.drawing.sampling import RowParams
from models.pipeline import LoadOptions, load
from models.stage2.packing import PackedLinear, can_pack, pack_linears
from models.stage2.transformer import Transformer
from tests.models.mindalle import shape, transformer

needs_packing = pytest.mark.skipif(
    not can_pack(torch.device("cpu")), reason="this build of torch has no packed kernels"
)


def test_only_a_cpu_packs() -> None:
    assert not can_pack(torch.device("meta"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_type_loads_whatever_the_cpu_has(dtype: torch.dtype) -> None:
    pipeline = load("tiny", options=LoadOptions(dtype=dtype))
    packed = [m for m in transformer(pipeline).modules() if isinstance(m, PackedLinear)]
    assert bool(packed) == can_pack(torch.device("cpu"), dtype)
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


@needs_packing
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gelu_behind_a_layer_is_packed_with_it(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(24, 96), nn.GELU(), nn.Linear(96, 24), nn.Dropout(0.0))
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
    layers = nn.Sequential(nn.Linear(24, 24), nn.GELU(approximate="tanh"), nn.Linear(24, 24))
    layers = layers.eval().requires_grad_(False)
    x = torch.randn(5, 24)
    before = layers(x)
    assert pack_linears(layers) == 2
    torch.testing.assert_close(layers(x), before)


@needs_packing
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
