"""VQGAN's codec as taming-transformers trains it with Gumbel-softmax, and its other resampling."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.configs.vqgan import VQGANConfig
from models.errors import ConfigError
from models.families import upstream_shapes
from models.files.layouts import read_vqgan, write_vqgan
from models.stage1.vqgan import VQGAN, GumbelQuantizer
from tests.models.golden import arrays
from tests.models.mindalle import codec_shape

RELEASED = VQGANConfig(
    n_embed=8192, ch_mult=(1, 1, 2, 4), attn_resolutions=(32,), quantizer="gumbel"
)
TINY = replace(codec_shape("tiny"), embed_dim=32, quantizer="gumbel")


def test_the_released_shape_has_the_official_tensors() -> None:
    with torch.device("meta"):
        state = VQGAN(RELEASED).state_dict()
    names = upstream_shapes(RELEASED, {name: tuple(t.shape) for name, t in state.items()})
    assert len(names) == 301
    assert sum(tensor.numel() for tensor in state.values()) == 68_995_971
    assert names["quantize.proj.weight"] == (8192, 256, 1, 1)
    assert names["quantize.embed.weight"] == (8192, 256)
    assert RELEASED.code_shape == (32 * 32, 1)


def test_logits_and_codes_are_the_recorded_ones() -> None:
    recorded = {key: torch.from_numpy(array) for key, array in arrays("taming_gumbel").items()}
    quantizer = GumbelQuantizer(*recorded["quantize.embed.weight"].shape).requires_grad_(False)
    quantizer.proj.weight.copy_(recorded["quantize.proj.weight"])
    quantizer.proj.bias.copy_(recorded["quantize.proj.bias"])  # type: ignore[union-attr]  # it has one
    logits = quantizer.proj(recorded["enc_prequant"])
    torch.testing.assert_close(logits, recorded["enc_logits"], atol=2e-4, rtol=0)
    assert torch.equal(quantizer(recorded["enc_prequant"]), recorded["enc_codes"].long())


def test_a_code_stands_for_its_own_row_of_the_codebook() -> None:
    torch.manual_seed(0)
    vqgan = VQGAN(TINY).eval().requires_grad_(False)
    codes = vqgan.encode(torch.rand(2, 3, 32, 32))
    assert codes.shape == (2, 16, 1)
    vectors = vqgan.quantize.lookup(codes.view(2, 4, 4))
    assert torch.equal(vectors[1, :, 2, 3], vqgan.quantize.embedding.weight[codes[1, 11, 0]])


def test_without_convolutions_maps_are_resampled_by_means_and_by_repeating() -> None:
    torch.manual_seed(0)
    vqgan = VQGAN(replace(codec_shape("tiny"), resamp_with_conv=False)).eval()
    assert not [name for name in vqgan.state_dict() if "sample" in name]
    image = torch.arange(16.0).view(1, 1, 4, 4)
    down, up = vqgan.encoder.down[0].downsample, vqgan.decoder.up[1].upsample
    assert isinstance(down, torch.nn.Module)
    assert isinstance(up, torch.nn.Module)
    assert down(image)[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert up(torch.tensor([[[[1.0, 2]]]]))[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]
    assert vqgan.pixels(vqgan.encode(torch.rand(1, 3, 32, 32))).shape == (1, 3, 32, 32)


def test_both_options_are_written_down_and_read_again() -> None:
    config = replace(TINY, resamp_with_conv=False)
    assert read_vqgan(write_vqgan(config), "stage1") == config
    section = write_vqgan(replace(config, embed_dim=8))
    with pytest.raises(ConfigError, match="z_channels: must equal embed_dim"):
        read_vqgan(section, "stage1")
