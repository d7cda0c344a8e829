from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from models.configs.hq import MultiScaleConfig
from models.configs.vqgan import VQGANConfig
from models.stage1.multi_scale import MultiScaleVQ, official_name, to_sequence
from models.stage1.vqgan import VQGAN

TINY = MultiScaleConfig(
    embed_dim=6,
    n_embed=20,
    z_channels=8,
    resolution=32,
    ch=8,
    ch_mult=(1, 1, 1),
    num_res_blocks=1,
    attn_resolutions=(8,),
    norm_groups=4,
)


def tiny(config: MultiScaleConfig = TINY) -> MultiScaleVQ:
    torch.manual_seed(0)
    return MultiScaleVQ(config).eval().requires_grad_(False)


@pytest.mark.parametrize("upsample", ["nearest", "deconv2d"])
@pytest.mark.parametrize("join", ["concat", "sum"])
def test_pixels_become_a_sequence_of_codes_and_back(upsample: Any, join: Any) -> None:
    model = tiny(replace(TINY, upsample=upsample, join=join))
    pixels = torch.rand(2, 3, 32, 32)
    codes = model.encode(pixels)
    assert codes.shape == (2, *model.code_shape) == (2, 64 + 256, 1)
    assert 0 <= int(codes.min()) <= int(codes.max()) < 20
    made = model.pixels(codes)
    assert made.shape == pixels.shape
    top, bottom = codes[:, :64].view(2, 8, 8), codes[:, 64:].reshape(2, 16, 16)
    torch.testing.assert_close(made, (model.decode(top, bottom) * 0.5 + 0.5).clamp(0, 1))


def test_finer_codes_are_chosen_in_the_light_of_the_coarse_ones() -> None:
    model = tiny()
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    top, bottom = model.quantise(images)
    _, finer = model.encoder.with_finer(images)
    assert finer.shape == (2, 8, 16, 16)
    light = model.decoder_top(model.post_quant_conv_t(model.quantize_t.lookup(top.codes)))
    wanted = model.quant_conv_b(torch.cat([finer, light], 1))
    torch.testing.assert_close(bottom.wanted, wanted)


def test_without_finer_codes_their_vectors_are_zeros() -> None:
    model = tiny()
    top = torch.randint(20, (2, 8, 8))
    raw = model.decode_vectors(model.quantize_t.lookup(top), torch.zeros(2, 6, 16, 16))
    torch.testing.assert_close(model.decode(top, None), raw)
    bottom = torch.randint(20, (2, 16, 16))
    coarse = model.pixels(to_sequence([top, bottom])[:, :64])
    torch.testing.assert_close(coarse, (raw * 0.5 + 0.5).clamp(0, 1))


def test_its_encoder_is_the_vqgans() -> None:
    config = MultiScaleConfig()
    with torch.device("meta"):
        mine, theirs = MultiScaleVQ(config), VQGAN(VQGANConfig())
    shapes = {name: value.shape for name, value in mine.encoder.state_dict().items()}
    assert shapes == {name: value.shape for name, value in theirs.encoder.state_dict().items()}
    assert config.sides == (16, 32)
    assert mine.state_dict()["upsample_t.0.weight"].shape == (128, 256, 3, 3)
    assert "decoder_top.up.1.attn.0.q.weight" in mine.state_dict()
    assert "decoder.up.3.attn.0.q.weight" in mine.state_dict()


def test_codebooks_are_named_as_they_were_learnt() -> None:
    name = "quantize_t.embedding.weight"
    assert official_name(name, TINY) == "quantize_t.embedding"
    assert official_name(name, replace(TINY, ema_update=False)) == name
    assert official_name("quant_conv_t.weight", TINY) == "quant_conv_t.weight"
