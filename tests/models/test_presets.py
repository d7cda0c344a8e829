import subprocess
import sys

import pytest

from models.configs import Preset
from models.presets import PRESETS, UnknownPresetError, get_preset
from tests.models.mindalle import shape


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownPresetError, match=r"unknown preset 'dall-e'.*mindalle-1\.3b.*tiny"):
        get_preset("dall-e")


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_fits_itself(preset: Preset) -> None:
    stage2, sampling = shape(preset), preset.sampling
    assert get_preset(preset.name) is preset
    assert preset.stage1.code_shape == (stage2.num_steps, 1)
    assert preset.stage1.vocab_sizes == preset.vocab_sizes == stage2.vocab_sizes
    assert stage2.head_dim * stage2.n_heads == stage2.embed_dim
    assert stage2.num_positions == stage2.prompt_len + stage2.ctx_len_img - 1
    assert (stage2.n_classes > 0) == (stage2.prefix == "class")
    assert (stage2.ctx_len_txt > 0) == (stage2.prefix == "text")
    assert sampling.top_k is None or 1 <= sampling.top_k <= stage2.vocab_size_img
    assert preset.description
    assert preset.licence


def test_official_shapes() -> None:
    stage2 = shape("mindalle-1.3b")
    assert (stage2.prompt_len, stage2.num_positions, stage2.head_dim) == (64, 319, 64)
    assert get_preset("mindalle-1.3b").stage1.code_shape == (256, 1)


def test_the_api_can_read_presets_without_torch() -> None:
    check = "import sys, models.presets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=50).returncode == 0
