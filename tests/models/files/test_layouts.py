"""Places of keys; their values and what they mean together are in test_config."""

from typing import Any

import pytest

from models.configs.transformer import TransformerConfig
from models.configs.vqgan import VQGANConfig
from models.errors import ConfigError
from models.files.layouts import (
    CODEC_READERS,
    PRIOR_READERS,
    read_transformer,
    read_vqgan,
    written,
)
from models.presets.register import PRESETS


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_what_is_written_reads_the_same(name: str) -> None:
    codec, prior = PRESETS[name].stage1, PRESETS[name].stage2
    assert CODEC_READERS[type(codec)](written(codec), "stage1") == codec
    assert PRIOR_READERS[type(prior)](written(prior), "stage2", codec) == prior


def test_an_empty_section_is_the_official_stage() -> None:
    assert read_vqgan({}, "stage1") == VQGANConfig()
    assert read_transformer({}, "stage2", VQGANConfig()) == TransformerConfig()


@pytest.mark.parametrize(
    ("section", "place"),
    [
        ({"n_layers": 42}, "here.n_layers"),
        ({"hparams": {"vocab_size_img": 16384}}, "here.hparams.vocab_size_img"),
        ({"hparams": {"prefix": "class"}}, "here.hparams.prefix"),
        ({"prefix": "class"}, "here.prefix"),
        ({"hparams": {"type": "igpt"}}, "here.hparams.type"),
    ],
)
def test_a_key_in_the_wrong_place_is_unknown(section: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError, match=f"^unknown key: {place}$"):
        read_transformer(section, "here", VQGANConfig())


def test_a_shape_without_a_layout_is_refused() -> None:
    class Other(VQGANConfig):
        pass

    with pytest.raises(ConfigError, match="models of Other have no config"):
        written(Other())


def test_one_code_a_step_fits_no_deeper_codec() -> None:
    class Deep(VQGANConfig):
        code_shape = (256, 4)

    with pytest.raises(ConfigError, match="256 codes for a stage 1 that makes 16×16 of 4 each"):
        read_transformer({}, "stage2", Deep())
