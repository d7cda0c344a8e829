from dataclasses import replace

import pytest
import torch

from models.configs.vqgan import VQGANConfig
from models.stage1.vqgan import VQGAN, AttnBlock, Downsample, Upsample
from tests.models.mindalle import codec_shape

TINY = codec_shape("tiny")


def _vqgan(config: VQGANConfig = TINY) -> VQGAN:
    torch.manual_seed(0)
    return VQGAN(config).eval().requires_grad_(False)


def test_the_official_shape_has_the_official_tensors() -> None:
    with torch.device("meta"):
        state = VQGAN(codec_shape("mindalle-1.3b")).state_dict()
    assert len(state) == 343
    assert sum(tensor.numel() for tensor in state.values()) == 76_073_859
    assert state["decoder.up.4.attn.2.proj_out.weight"].shape == (512, 512, 1, 1)
    assert state["encoder.down.4.block.0.nin_shortcut.weight"].shape == (512, 256, 1, 1)
    assert "decoder.up.0.upsample.conv.weight" not in state
    assert "encoder.down.4.downsample.conv.weight" not in state


@pytest.mark.parametrize("patch_size", [1, 2])
def test_images_become_a_grid_of_codes_and_back(patch_size: int) -> None:
    attn = (4 // patch_size,)
    vqgan = _vqgan(replace(TINY, patch_size=patch_size, attn_resolutions=attn))
    images = torch.rand(3, 3, 32, 32)
    codes = vqgan.encode(images)
    side = 4 // patch_size
    assert codes.shape == (3, *vqgan.code_shape) == (3, side**2, 1)
    grids = vqgan.encode_images(images * 2 - 1)
    assert torch.equal(codes.view(3, side, side), grids)
    assert 0 <= int(codes.min()) <= int(codes.max()) < TINY.n_embed
    pixels = vqgan.pixels(codes)
    assert pixels.shape == images.shape
    assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
    assert torch.equal(pixels, (vqgan.decode(grids) * 0.5 + 0.5).clamp(0, 1))


def test_a_code_is_its_nearest_vector() -> None:
    vqgan = _vqgan()
    z = torch.randn(2, TINY.embed_dim, 4, 4)
    vectors = z.permute(0, 2, 3, 1).reshape(-1, TINY.embed_dim)
    nearest = torch.cdist(vectors, vqgan.quantize.embedding.weight).argmin(1)
    assert torch.equal(vqgan.quantize(z).flatten(), nearest)


def test_a_codebook_vector_is_its_own_code_in_raster_order() -> None:
    vqgan = _vqgan()
    codes = torch.randint(TINY.n_embed, (2, 4, 4))
    vectors = vqgan.quantize.lookup(codes)
    assert torch.equal(vectors[1, :, 2, 3], vqgan.quantize.embedding.weight[codes[1, 2, 3]])
    assert torch.equal(vqgan.quantize(vectors), codes)


def test_down_sampling_pads_right_and_bottom_only() -> None:
    down = Downsample(1)
    with torch.no_grad():
        down.conv.weight.fill_(0)
        down.conv.bias = None
        down.conv.weight[0, 0, 0, 0] = 1  # reads the top left of each 3×3 window
        image = torch.arange(16.0).view(1, 1, 4, 4)
        assert down(image)[0, 0].tolist() == [[0, 2], [8, 10]]
        down.conv.weight[0, 0] = torch.tensor([[0, 0, 0], [0, 0, 0], [0, 0, 1.0]])
        assert down(image)[0, 0].tolist() == [[10, 0], [0, 0]]


def test_up_sampling_repeats_pixels() -> None:
    up = Upsample(1)
    with torch.no_grad():
        up.conv.weight.fill_(0)
        up.conv.bias = None
        up.conv.weight[0, 0, 1, 1] = 1
        assert up(torch.tensor([[[[1.0, 2]]]]))[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]


def test_attention_is_one_head_scaled_by_its_channels() -> None:
    torch.manual_seed(0)
    block = AttnBlock(32, TINY).requires_grad_(False)
    x = torch.randn(1, 32, 3, 2)
    normed = block.norm(x)
    q, k, v = (conv(normed).flatten(2)[0] for conv in (block.q, block.k, block.v))  # [C, hw]
    weights = ((q.T @ k) / 32**0.5).softmax(-1)  # [query, key]
    attended = (v @ weights.T).view(1, 32, 3, 2)
    torch.testing.assert_close(block(x), x + block.proj_out(attended), atol=1e-5, rtol=1e-5)


def test_norms_have_the_checkpoints_eps() -> None:
    norms = [m for m in _vqgan().modules() if isinstance(m, torch.nn.GroupNorm)]
    assert {(norm.eps, norm.num_groups) for norm in norms} == {(1e-6, 32)}


def test_without_norms_codes_depend_on_what_is_near() -> None:
    near = _vqgan(replace(TINY, norm="none", use_attn=False))
    far = _vqgan(replace(TINY, use_attn=False))
    images = torch.rand(1, 3, 32, 192) * 2 - 1
    changed = images.clone()
    changed[:, :, :, 180:] *= -1
    for vqgan, is_same in ((near, True), (far, False)):
        before, after = vqgan.features(images), vqgan.features(changed)
        left = (before[..., :1], after[..., :1])
        assert torch.allclose(*left, atol=1e-6) == is_same
        assert not torch.allclose(before[..., -1:], after[..., -1:], atol=1e-3)


def test_attention_and_the_middle_can_be_left_out() -> None:
    names = _vqgan(replace(TINY, use_attn=False)).state_dict()
    assert not any("attn" in name for name in names)
    assert any("mid.block_2" in name for name in names)
    assert not any(
        "mid." in name for name in _vqgan(replace(TINY, use_mid_block=False)).state_dict()
    )
