"""A baseline that computed something else would be no baseline."""

import pytest
import torch

from models.measure.baselines import ConcatenatingCache, recomputed_logits
from models.measure.stopwatch import random_prefix
from models.pipeline import Pipeline
from tests.models.mindalle import shape, transformer


@torch.inference_mode()
def test_both_compute_the_models_logits(every_exact: Pipeline) -> None:
    stage2, config = transformer(every_exact), shape(every_exact.preset)
    prefix = random_prefix(every_exact.preset, 3)
    codes = torch.randint(config.vocab_size_img, (3, config.ctx_len_img))
    expected, _ = stage2(prefix, codes)
    cache = ConcatenatingCache(stage2)
    torch.testing.assert_close(cache.prefill(prefix), expected[:, 0], atol=1e-10, rtol=1e-10)
    for place in range(config.ctx_len_img - 1):
        logits = cache.decode(codes[:, place], place)
        torch.testing.assert_close(logits, expected[:, place + 1], atol=1e-10, rtol=1e-10)
    again = recomputed_logits(stage2, prefix, codes[:, :7])
    torch.testing.assert_close(again, expected[:, 7], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("num_steps", [0, 3])
@torch.inference_mode()
def test_a_pretended_past_has_the_shape_of_a_real_one(
    every_exact: Pipeline, num_steps: int
) -> None:
    stage2 = transformer(every_exact)
    real, pretended = ConcatenatingCache(stage2), ConcatenatingCache(stage2)
    real.prefill(random_prefix(every_exact.preset, 2))
    for place in range(num_steps):
        real.decode(torch.zeros(2, dtype=torch.int64), place)
    pretended.pretend(2, num_steps)
    assert [part.shape for part in real.past] == [part.shape for part in pretended.past]
    assert {part.dtype for part in pretended.past} == {stage2.dtype}
