import pytest
import torch
from torch import Tensor

from models.configs.transformer import TransformerConfig
from models.pipeline import Pipeline
from models.stage2.blocks import attend_one
from models.stage2.transformer import Transformer
from tests.models.mindalle import shape, transformer


def _prefixes(config: TransformerConfig, count: int) -> Tensor:
    """Random prefix ids [count, N]."""
    generator, limit = torch.Generator().manual_seed(1), config.prompt_vocab_size
    return torch.randint(limit, (count, config.prompt_len), generator=generator)


def _codes(config: TransformerConfig, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(config.vocab_size_img, (count, config.ctx_len_img), generator=generator)


def _mask(positions: Tensor, span: int, dtype: torch.dtype) -> Tensor:
    visible = torch.arange(span) <= positions[:, None]
    return torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, -torch.inf)[:, None, None]


@pytest.mark.parametrize(
    ("preset", "count"),
    [
        ("mindalle-1.3b", 1_291_081_728),
        ("mindalle-imagenet-class", 1_242_187_776),
        ("mindalle-imagenet-uncond", 1_240_653_312),
    ],
)
def test_the_official_shapes_have_the_official_sizes(preset: str, count: int) -> None:
    with torch.device("meta"):
        stage2 = Transformer(shape(preset))
    assert sum(parameter.numel() for parameter in stage2.parameters()) == count


@torch.inference_mode()
def test_one_position_at_a_time_equals_the_whole_sequence(every_exact: Pipeline) -> None:
    stage2, config = transformer(every_exact), shape(every_exact.preset)
    prefixes, codes = _prefixes(config, 3), _codes(config, 3)
    whole, _ = stage2(prefixes, codes)
    state = stage2.new_state(3)
    first = []
    for row, prefix in enumerate(prefixes):
        prefilled = stage2.prefill(prefix[None])
        state.put(prefilled, torch.tensor([row]))
        first.append(stage2.head(prefilled.hidden))
    logits = [torch.cat(first)]
    for place in range(config.ctx_len_img - 1):
        places = torch.full((3,), place)
        reach = min(place + 1 + place % 2, config.ctx_len_img - 1)  # exact and with room
        logits.append(stage2.head(stage2.decode(codes[:, place, None], places, state, reach)))
    torch.testing.assert_close(torch.stack(logits, 1), whole, atol=1e-10, rtol=1e-10)


@torch.inference_mode()
def test_rows_may_stand_at_different_places(every_exact: Pipeline) -> None:
    stage2, config = transformer(every_exact), shape(every_exact.preset)
    prefix, codes = _prefixes(config, 1), _codes(config, 2)
    whole, _ = stage2(prefix.expand(2, -1), codes)
    state = stage2.new_state(2)
    state.put(stage2.prefill(prefix), torch.tensor([0, 1]))
    for tick in range(config.ctx_len_img - 1):
        # Row 1 starts five steps late; until then it rewrites its first place.
        places = torch.tensor([tick, max(tick - 5, 0)])
        fed = codes[torch.arange(2), places, None]
        hidden = stage2.decode(fed, places, state, stage2.reaches[-1])
        expected = whole[torch.arange(2), places + 1]
        torch.testing.assert_close(stage2.head(hidden), expected, atol=1e-10, rtol=1e-10)


@torch.inference_mode()
def test_nobody_sees_what_comes_later(every_exact: Pipeline) -> None:
    stage2, config = transformer(every_exact), shape(every_exact.preset)
    prefix, codes = _prefixes(config, 1), _codes(config, 1)
    before, text_before = stage2(prefix, codes)
    changed = codes.clone()
    changed[0, 9] = (changed[0, 9] + 1) % config.vocab_size_img
    after, text_after = stage2(prefix, changed)
    torch.testing.assert_close(after[:, :10], before[:, :10], atol=1e-12, rtol=0)
    assert bool((after[:, 10:] != before[:, 10:]).any(-1).all())
    if config.prefix == "text":
        assert text_before is not None
        torch.testing.assert_close(text_after, text_before, atol=1e-12, rtol=0)


@torch.inference_mode()
def test_only_text_is_predicted_beside_codes(every_exact: Pipeline) -> None:
    config = shape(every_exact.preset)
    image, text = transformer(every_exact)(_prefixes(config, 2), _codes(config, 2))
    num_tokens = config.vocab_size or config.vocab_size_img
    assert image.shape == (2, config.ctx_len_img, num_tokens)
    if config.prefix == "text":
        assert text is not None
        assert text.shape == (2, config.ctx_len_txt - 1, config.vocab_size_txt)
    else:
        assert text is None


@torch.inference_mode()
def test_fewer_codes_than_an_image_has(every_exact: Pipeline) -> None:
    stage2, config = transformer(every_exact), shape(every_exact.preset)
    prefix, codes = _prefixes(config, 1), _codes(config, 1)
    whole, _ = stage2(prefix, codes)
    short, _ = stage2(prefix, codes[:, :3])
    torch.testing.assert_close(short, whole[:, :3], atol=1e-12, rtol=0)


def test_a_start_of_sequence_has_no_position() -> None:
    stage2 = Transformer(shape("tiny-class"))
    labels = torch.tensor([[3]])
    assert torch.equal(stage2.embed_prefix(labels)[0, 0], stage2.sos.weight[3])
    placed = stage2.embed_codes(torch.tensor([5]), torch.tensor([0]))[0]
    assert torch.equal(placed, stage2.tok_emb_img.weight[5] + stage2.pos_emb_img.weight[0])


def test_one_query_attends_as_the_fused_kernel_does() -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 3, 8, generator=generator)
    keys = torch.randn(2, 3, 11, 8, generator=generator)
    values = torch.randn(2, 3, 11, 8, generator=generator)
    mask = _mask(torch.tensor([10, 4]), 11, torch.float32)
    fused = torch.nn.functional.scaled_dot_product_attention(
        q[:, :, None], keys, values, attn_mask=mask
    )
    torch.testing.assert_close(attend_one(q, keys, values, mask), fused[:, :, 0])
    unseen = values.clone()
    unseen[1, :, 5:] = 1e6
    assert torch.equal(attend_one(q, keys, unseen, mask), attend_one(q, keys, values, mask))


@pytest.mark.gpu
@torch.inference_mode()
def test_a_gpu_computes_the_same_logits(every_exact: Pipeline) -> None:
    stage2, config = transformer(every_exact), shape(every_exact.preset)
    prefix, codes = _prefixes(config, 2), _codes(config, 2)
    expected, _ = stage2(prefix, codes)
    on_gpu = Transformer(config).eval().to("cuda")
    on_gpu.load_state_dict(stage2.state_dict())
    found, _ = on_gpu(prefix.cuda(), codes.cuda())
    torch.testing.assert_close(found.double().cpu(), expected, atol=2e-3, rtol=1e-3)
    low, _ = on_gpu.to(torch.bfloat16)(prefix.cuda(), codes.cuda())
    spread = float(expected.std())
    assert float((low.double().cpu() - expected).square().mean().sqrt()) < 0.1 * spread
