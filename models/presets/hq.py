"""The released HQ models and small random ones, as data. Knows no torch.

Shapes and sampling are those of the authors' configs; a folder's own config.yaml has the last word.
"""

from __future__ import annotations

from dataclasses import replace

from models.configs.hq import HQTransformerConfig, HQVAEConfig, MultiScaleConfig, TwoScalesConfig
from models.configs.preset import Preset, SamplingDefaults
from models.configs.rankers import IMAGENET_CLASSIFIER
from models.configs.transformer import StackConfig, TransformerConfig
from models.presets.random import random_preset

# The authors forbid any commercial use of their weights; their code is MIT.
_LICENCE = "non-commercial (see the authors' configs/README.md)"
_STAGE1 = HQVAEConfig(ch_mult=(1, 2, 4, 4), attn_resolutions=(16,), use_init_downsample=True)
_STAGE2 = HQTransformerConfig(n_classes=1000, temp_soft_labels=1.0)


def _released(
    name: str, what: str, stage2: HQTransformerConfig, temperature: float, top_k: int | None
) -> Preset:
    return Preset(
        name=name,
        description=f"HQ-Transformer: {what} to 256×256 pixels",
        licence=_LICENCE,
        stage1=_STAGE1,
        stage2=stage2,
        sampling=SamplingDefaults(temperature, top_k, top_p=1.0),
    )


def _imagenet(layers: int, head: int, size: str) -> Preset:
    stage2 = replace(_STAGE2, body=StackConfig(1536, layers, 24), head=StackConfig(1536, head, 24))
    what = f"one of ImageNet's 1000 classes ({size} parameters)"
    preset = _released(f"hq-imagenet-{layers}", what, stage2, 0.95, 2048)
    return replace(preset, classifier=IMAGENET_CLASSIFIER)


_RELEASED = (
    _imagenet(12, 4, "531M"),
    _imagenet(24, 4, "871M"),
    _imagenet(42, 6, "1.4B"),
    _released(
        "hq-cc15m",
        "text (579M parameters, Conceptual Captions)",
        replace(
            _STAGE2,
            prefix="text",
            n_classes=0,
            ctx_len_img=64,
            vocab_size_txt=16384,
            ctx_len_txt=64,
            body=StackConfig(1536, 12, 24),
            weight_img=0.9,
            weight_txt=0.1,
        ),
        0.9,
        None,
    ),
    _released(
        "hq-ffhq",
        "faces without a prompt (397M parameters)",
        replace(
            _STAGE2,
            prefix="none",
            n_classes=0,
            embedding="reduce",
            body=StackConfig(1024, 24, 16),
            head=StackConfig(1024, 4, 16),
        ),
        1.0,
        4096,
    ),
)

# Odd sizes and switches on purpose, as in `mindalle`.
_TINY_STAGE1 = HQVAEConfig(
    embed_dim=8,
    n_embed=(64, 40),
    z_channels=32,
    resolution=32,
    ch=32,
    ch_mult=(1, 1, 2),
    num_res_blocks=1,
    attn_resolutions=(8,),
)
_TINY_TEXT = HQTransformerConfig(
    prefix="text",
    num_steps=16,
    sizes=(64, 40),
    ctx_len_img=16,
    vocab_size_txt=128,
    ctx_len_txt=8,
    body=StackConfig(32, 2, 2, resid_pdrop=0.0),
    head=StackConfig(32, 1, 4, resid_pdrop=0.0),
    weight_img=0.9,
    weight_txt=0.1,
    temp_soft_labels=1.0,
)
_TINY_SCALE = TransformerConfig(
    embed_dim=32,
    n_layers=2,
    n_heads=4,
    vocab_size_img=64,
    ctx_len_img=64,
    vocab_size_txt=0,
    ctx_len_txt=0,
)

_TINY = (
    random_preset("tiny-hq", "HQ, text prefix, 1 + 4 codes a cell", _TINY_STAGE1, _TINY_TEXT),
    random_preset(
        "tiny-hq-class",
        "HQ, class prefix, a cell's codes one by one, positions by row and column",
        replace(_TINY_STAGE1, n_embed=(48, 48), resize="conv", use_mid_block=False),
        replace(
            _TINY_TEXT,
            prefix="class",
            sizes=(48, 48),
            drawing="causal",
            n_emb_blocks=1,
            position_embedding="2d",
            ctx_len_img=25,
            vocab_size_txt=0,
            ctx_len_txt=0,
            n_classes=10,
            head=StackConfig(32, 1, 4, mlp_bias=False, gelu_use_approx=True, resid_pdrop=0.0),
        ),
    ),
    random_preset(
        "tiny-hq-uncond",
        "HQ, no prompt, three levels",
        replace(
            _TINY_STAGE1,
            n_embed=(64, 48, 40),
            ch_mult=(1, 2),
            resize="nearest",
            join="sum",
            ema_update=False,
            use_init_downsample=True,
        ),
        replace(
            _TINY_TEXT,
            prefix="none",
            num_steps=4,
            sizes=(64, 48, 40),
            drawing="multilevel",
            vocab_size_txt=0,
            ctx_len_txt=0,
            body=StackConfig(32, 2, 2, attn_bias=False, resid_pdrop=0.0),
        ),
    ),
    random_preset(
        "tiny-hq-scales",
        "multi-scale VQ, class prefix, 16 coarse codes, then 64 finer ones",
        MultiScaleConfig(
            embed_dim=8,
            n_embed=64,
            z_channels=32,
            resolution=32,
            ch=32,
            ch_mult=(1, 1, 1, 2),
            num_res_blocks=1,
            attn_resolutions=(4,),
            upsample="deconv2d",
            join="sum",
        ),
        TwoScalesConfig(
            top=replace(
                _TINY_SCALE, prefix="class", n_classes=10, ctx_len_img=16, gelu_use_approx=True
            ),
            bottom=replace(_TINY_SCALE, vocab_size_txt=64, ctx_len_txt=16),
        ),
    ),
)

HQ_PRESETS = (*_RELEASED, *_TINY)
