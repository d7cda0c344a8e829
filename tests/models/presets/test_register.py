import subprocess
import sys

import pytest

from models.configs.codec import levels_of
from models.configs.preset import Preset
from models.drawing.sampling import RowParams
from models.presets.register import PRESETS, UnknownPresetError, get_preset
from tests.models.mindalle import shape


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownPresetError, match=r"unknown preset 'dall-e'.*mindalle-1\.3b.*tiny"):
        get_preset("dall-e")


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_fits_itself(preset: Preset) -> None:
    stage1, stage2, sampling = preset.stage1, preset.stage2, preset.sampling
    assert get_preset(preset.name) is preset
    assert stage1.code_shape == (preset.num_steps, preset.depth)
    assert stage1.vocab_sizes == preset.vocab_sizes == stage2.vocab_sizes
    assert (preset.num_classes is not None) == (preset.prompt_kind == "class")
    row = RowParams(0, 0, sampling.temperature, sampling.top_k, sampling.top_p)
    row.validate(preset.vocab_sizes)
    assert preset.description
    assert preset.licence


@pytest.mark.parametrize("name", ["mindalle-1.3b", "mindalle-imagenet-class", "emoji", "tiny"])
def test_a_transformers_sizes_fit_each_other(name: str) -> None:
    stage2 = shape(name)
    assert stage2.head_dim * stage2.n_heads == stage2.embed_dim
    assert stage2.num_positions == stage2.prompt_len + stage2.ctx_len_img - 1
    assert (stage2.n_classes > 0) == (stage2.prefix == "class")
    assert (stage2.ctx_len_txt > 0) == (stage2.prefix == "text")


def test_official_shapes() -> None:
    stage2 = shape("mindalle-1.3b")
    assert (stage2.prompt_len, stage2.num_positions, stage2.head_dim) == (64, 319, 64)
    assert get_preset("mindalle-1.3b").stage1.code_shape == (256, 1)


def test_the_api_can_read_presets_without_torch() -> None:
    check = "import sys, models.presets.register; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=50).returncode == 0


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_steps_levels_are_its_codes(preset: Preset) -> None:
    assert sum(levels_of(preset.stage1)) == preset.depth
