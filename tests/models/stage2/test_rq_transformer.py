from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.configs.rq import RQTransformerConfig
from models.presets.register import get_preset
from models.stage1.rq_vae import ResidualQuantizer
from models.stage2.code_loss import hard_cross_entropy, soft_cross_entropy, text_cross_entropy
from models.stage2.rq_transformer import RQTransformer
from tests.models.golden import facts
from tests.models.rq_sets import RQ_SETS, quantizer_of, recorded, stage1_of, stage2_of


@pytest.mark.parametrize("name", RQ_SETS)
@torch.inference_mode()
def test_teacher_forced_logits_are_the_recorded_ones(name: str) -> None:
    stage2, wanted = stage2_of(name), recorded(name)
    prefix = wanted.get("tf_cond", torch.zeros(2, 1, dtype=torch.int64))
    logits, text = stage2(prefix, wanted["tf_codes"])
    rows, columns, depth = stage2.config.block_size
    seen = logits.view(2, rows, columns, depth, -1)[:, : wanted["tf_logits"].shape[1]]
    torch.testing.assert_close(seen, wanted["tf_logits"], atol=2e-4, rtol=0)
    if name == "rq_text":
        torch.testing.assert_close(text, wanted["tf_cond_logits"], atol=2e-4, rtol=0)
    else:
        assert text is None


@torch.inference_mode()
def test_losses_are_the_recorded_ones() -> None:
    name = "rq_uncond_variants"
    wanted, losses = recorded(name), facts(name)["loss"]
    stage1, stage2 = stage1_of(name), stage2_of(name)
    vectors = stage1.fold(stage1.features(wanted["enc_images"][:1]))
    targets, codes = stage1.quantizer.soft(vectors, 0.5)
    logits, _ = stage2(torch.zeros(1, 1, dtype=torch.int64), codes)
    soft = soft_cross_entropy(logits, targets)
    assert float(soft.mean()) == pytest.approx(losses["img_soft"], abs=1e-3)
    assert soft.mean((0, 1)).tolist() == pytest.approx(losses["per_depth_soft"], abs=1e-3)
    hard = float(hard_cross_entropy(logits, codes).mean())
    assert hard == pytest.approx(losses["img_hard"], abs=1e-3)


@pytest.mark.parametrize("name", ["tiny-rq", "tiny-rq-class", "tiny-rq-uncond"])
def test_a_code_depends_on_the_codes_before_it_alone(name: str) -> None:
    stage2, quantizer = _random(name)
    prefix, codes = _inputs(stage2.config)
    before = _seen(stage2, prefix, codes)
    for place, depth in [(0, 0), (1, 2), (stage2.config.num_steps - 1, 1)]:
        changed = codes.clone()
        changed[0, place, depth] = (changed[0, place, depth] + 1) % 24
        has_moved = (_seen(stage2, prefix, changed) != before).any(-1)[0]  # [T, D]
        index = torch.arange(has_moved.numel()).view(has_moved.shape)
        assert not has_moved[index <= index[place, depth]].any()
        assert has_moved[index > index[place, depth]].all()
    assert quantizer.depth == stage2.config.depth


def test_a_depth_with_fewer_codes_never_draws_beyond_them() -> None:
    stage2, _ = _random("tiny-rq-class")
    logits, _ = stage2(*_inputs(stage2.config))
    for depth, size in enumerate(stage2.config.vocab_sizes):
        assert logits[:, :, depth, :size].isfinite().all()
        assert (logits[:, :, depth, size:] == -torch.inf).all()
    targets = [torch.rand(1, 16, size).softmax(-1) for size in stage2.config.vocab_sizes]
    loss = soft_cross_entropy(logits, targets).mean()
    loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
    gradients = [p.grad for p in stage2.parameters()]
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


def test_the_codebook_is_shared_and_not_copied() -> None:
    quantizer, stage2 = quantizer_of("rq_text"), stage2_of("rq_text")
    stage2.share(quantizer.vector)
    wanted = recorded("rq_text")
    before = stage2(wanted["tf_cond"], wanted["tf_codes"])[0]
    quantizer.book(0).mul_(2)
    assert (stage2(wanted["tf_cond"], wanted["tf_codes"])[0] != before).any()
    assert not any("codebook" in name for name in stage2.state_dict())


def test_without_the_codebook_it_says_so() -> None:
    config = get_preset("tiny-rq").stage2
    assert isinstance(config, RQTransformerConfig)
    with pytest.raises(RuntimeError, match="needs stage 1's codebook"):
        RQTransformer(config)(*_inputs(config))


def test_the_projection_of_inputs_counts_its_bias_at_every_depth() -> None:
    stage2, quantizer = _random("tiny-rq")
    codes = _inputs(stage2.config)[1]
    vectors = quantizer.vectors(codes)
    summed = vectors.sum(2) @ stage2.input_mlp.weight.T + 4 * stage2.input_mlp.bias
    torch.testing.assert_close(stage2.embed_codes(codes), summed)
    running = vectors.cumsum(2) @ stage2.head_mlp.weight.T + stage2.head_mlp.bias
    torch.testing.assert_close(stage2.embed_depths(codes), running)


def test_soft_loss_of_a_single_code_is_the_hard_loss() -> None:
    logits, codes = torch.randn(2, 3, 4, 7), torch.randint(7, (2, 3, 4))
    targets = list(torch.nn.functional.one_hot(codes, 7).float().unbind(2))
    soft, hard = soft_cross_entropy(logits, targets), hard_cross_entropy(logits, codes)
    torch.testing.assert_close(soft, hard)


def test_text_loss_is_of_every_token_but_the_first() -> None:
    logits, prefix = torch.randn(2, 4, 9), torch.randint(9, (2, 5))
    picked = logits.log_softmax(-1).gather(-1, prefix[:, 1:, None])
    torch.testing.assert_close(text_cross_entropy(logits, prefix), -picked.mean())


def _random(name: str) -> tuple[RQTransformer, ResidualQuantizer]:
    preset = get_preset(name)
    assert isinstance(preset.stage2, RQTransformerConfig)
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(preset.stage1).requires_grad_(False)  # type: ignore[arg-type]  # the same family
    config = replace(preset.stage2)
    stage2 = RQTransformer(config).eval()
    for parameter in stage2.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    stage2.share(quantizer.vector)
    return stage2, quantizer


def _inputs(config: RQTransformerConfig) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    prefix = torch.randint(config.vocab_size_cond, (1, config.prompt_len), generator=generator)
    shape = (1, config.num_steps, config.depth)
    return prefix, torch.randint(min(config.vocab_sizes), shape, generator=generator)


@torch.inference_mode()
def _seen(stage2: RQTransformer, prefix: Tensor, codes: Tensor) -> Tensor:
    logits: Tensor = stage2(prefix, codes)[0]
    return logits
