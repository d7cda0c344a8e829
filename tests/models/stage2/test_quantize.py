import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.errors import CheckpointError
from models.stage2.quantize import Int8Linear, quantize, round_weights
from models.stage2.transformer import Transformer
from tests.models.golden import GOLDEN, arrays
from tests.models.mindalle import load_transformer


def _transformer(dtype: torch.dtype) -> Transformer:
    return load_transformer(GOLDEN / "mindalle_text", dtype)


def _sample() -> tuple[torch.Tensor, torch.Tensor]:
    recorded = arrays("mindalle_text")
    return torch.tensor(recorded["tf_tokens"]).long(), torch.tensor(recorded["tf_codes"]).long()


def test_no_weight_moves_by_more_than_half_a_level() -> None:
    weight = torch.randn(64, 96, generator=torch.Generator().manual_seed(0))
    weight[3] = 0
    levels, scale = round_weights(weight)
    assert levels.dtype == torch.int8
    assert (levels[3] == 0).all()
    error = (levels.float() * scale[:, None] - weight).abs()
    assert (error <= scale[:, None] * 0.5001 + 1e-7).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("width", [96, 40])
def test_the_layer_computes_with_its_rounded_weights(
    dtype: torch.dtype, has_bias: bool, width: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn((64, width), generator=generator).to(dtype)
    bias = torch.randn(64, generator=generator).to(dtype) if has_bias else None
    layer = Int8Linear(*round_weights(weight), bias)
    for shape in ((width,), (5, width), (2, 3, width)):
        x = torch.randn((1, *shape) if len(shape) == 1 else shape, generator=generator).to(dtype)
        exact = F.linear(
            x.double(),
            layer.weight.double() * layer.scale.double()[:, None],
            None if bias is None else bias.double(),
        )
        error = (layer(x).double() - exact).abs().max() / exact.abs().max()
        assert error < (0.02 if dtype == torch.bfloat16 else 1e-5)


@torch.inference_mode()
def test_the_report_states_the_errors_that_there_are() -> None:
    transformer, sample = _transformer(torch.float32), _sample()
    exact = transformer(*sample)[0]
    report = quantize(transformer)
    assert report.num_layers == 3 * 4
    assert report.bytes_after < report.bytes_before / 3.5
    assert 0 < report.relative_rms <= report.worst[0] < 0.02
    assert "12 layers" in str(report)
    assert report.worst[1] in str(report)
    found = transformer(*sample)[0]
    assert (found - exact).square().mean().sqrt() < 0.05 * exact.std()
    assert (found.argmax(-1) == exact.argmax(-1)).float().mean() > 0.9


def test_heads_and_embeddings_stay() -> None:
    transformer = _transformer(torch.bfloat16)
    report = quantize(transformer)
    assert type(transformer.head) is nn.Linear
    assert transformer.dtype == torch.bfloat16
    assert sum(isinstance(m, Int8Linear) for m in transformer.modules()) == report.num_layers
    assert not any(
        type(m) is nn.Linear and "blocks" in name for name, m in transformer.named_modules()
    )


def test_a_quantised_model_still_decodes_like_its_full_forward() -> None:
    transformer, (prefix, codes) = _transformer(torch.float32), _sample()
    quantize(transformer)
    with torch.inference_mode():
        forced, _ = transformer(prefix[:1], codes[:1])
        first = transformer.head(transformer.prefill(prefix[:1]).hidden)
    assert (first - forced[:, 0]).abs().max() < 1e-4


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(CheckpointError, match="a Linear has no blocks"):
        quantize(nn.Linear(2, 2))
