import pytest
import torch

from models.measure.machine import Ceilings
from models.measure.stopwatch import BaselineTimes, Result, integrated, measure, random_prefix
from models.pipeline import LoadOptions, Pipeline, load
from models.presets.register import get_preset
from tests.models.mindalle import shape, transformer

_CEILINGS = Ceilings(read_bytes_s=1e9, copy_bytes_s=2e9, flops={"float32": 1e9, "bfloat16": 1e9})


def test_times_are_integrated_along_straight_lines() -> None:
    assert integrated({1: 2.0}) == 2
    assert integrated({1: 1.0, 3: 3.0}) == 1 + 2 + 3
    assert integrated({1: 1.0, 5: 1.0, 7: 3.0}) == pytest.approx(5 + 2 + 3)


def test_a_whole_image_is_measured_beside_both_baselines(every_tiny: Pipeline) -> None:
    plain = load(every_tiny.preset.name, options=LoadOptions(packed=False))
    times = BaselineTimes(transformer(plain), plain.preset, 3)
    assert times.places == [1, 4, 8, 11, 15]
    result = measure("float32", every_tiny, 3, _CEILINGS, times)
    assert (result.batch, result.num_steps) == (3, 15)
    assert 0 < result.step_s <= result.image_s
    assert result.pixels_s is not None
    assert result.rerank_s is None
    assert result.concatenated_s is not None
    assert result.times_faster(result.concatenated_s) == result.concatenated_s / result.image_s
    assert result.times_faster(None) is None
    assert result.codes_s == pytest.approx(45 / result.image_s)
    assert result.images_s < result.stage2_images_s
    # Nothing is left behind: the same pipeline can be measured again.
    assert measure("float32", every_tiny, 3, _CEILINGS, None).recomputed_s is None


def _work(options: LoadOptions) -> Result:
    return measure("", load("tiny", options=options), 4, _CEILINGS, None)


def test_bytes_and_operations_are_counted_by_hand() -> None:
    layers = 2 * 12 * 32**2 + 32 * 64  # per layer 3 + 1 + 4 + 4 squares of the width; the head
    cache = 4 * 2 * 2 * 32 * (8 + 16 / 2)  # rows, layers, keys and values, width, positions
    full = _work(LoadOptions())
    assert full.step_bytes == 4 * layers + 4 * cache
    assert full.step_flops == 2 * 4 * layers + 2 * cache
    assert full.bandwidth_share == pytest.approx(
        full.step_bytes * full.num_steps / full.image_s / 2e9
    )
    half = _work(LoadOptions(dtype=torch.bfloat16))
    assert half.step_bytes == full.step_bytes / 2
    small = _work(LoadOptions(dtype=torch.bfloat16, quantization="int8"))
    assert small.step_bytes == 2 * 12 * 32**2 + 2 * 32 * 64 + 2 * cache


@pytest.mark.parametrize("preset", ["tiny", "tiny-class", "tiny-uncond"])
def test_random_prefixes_are_legal(preset: str) -> None:
    config = shape(preset)
    ids = random_prefix(get_preset(preset), 50)
    assert ids.shape == (50, config.prompt_len)
    assert int(ids.max()) < {"text": 128, "class": 10, "none": 1}[config.prefix]
