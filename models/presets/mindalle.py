"""minDALL-E's released models and small random ones of its kind, as data. Knows no torch."""

from __future__ import annotations

from models.configs.backbone import BackboneConfig
from models.configs.enhancement import Enhancement
from models.configs.preset import Preset
from models.configs.rankers import IMAGENET_CLASSIFIER, ClipConfig
from models.configs.transformer import StackConfig, TransformerConfig
from models.configs.upsamplers import CellUpsamplerConfig
from models.configs.vqgan import VQGANConfig
from models.presets.random import TINY_VQGAN, random_preset

_OFFICIAL_CLIP = ClipConfig(model_name="ViT-B-32-quickgelu", weights="clip/ViT-B-32.pt")
_OFFICIAL_LICENCE = "CC-BY-NC-SA-4.0"

# Odd sizes and switches on purpose: what a test passes on these, it passes on options that the
# large models leave at their defaults.
_TINY_STAGE2 = TransformerConfig(
    embed_dim=32,
    n_layers=2,
    n_heads=2,
    vocab_size_img=64,
    ctx_len_img=16,
    vocab_size_txt=128,
    ctx_len_txt=8,
)

_TINY_UPSAMPLER = CellUpsamplerConfig(
    num_steps=16,
    coarse_sizes=(64,),
    n_embed=48,
    embed_dim=6,
    codec=BackboneConfig(
        z_channels=16,
        resolution=32,
        ch=32,
        ch_mult=(1, 1, 1),
        num_res_blocks=1,
        attn_resolutions=(),
        norm_groups=8,
    ),
    body=StackConfig(24, 2, 3, resid_pdrop=0.0),
    head=StackConfig(24, 1, 4, mlp_bias=False, resid_pdrop=0.0),
)

MINDALLE_PRESETS = (
    Preset(
        name="mindalle-1.3b",
        description="minDALL-E: text to 256×256 pixels, 1.3B parameters",
        licence=_OFFICIAL_LICENCE,
        stage1=VQGANConfig(),
        stage2=TransformerConfig(),
        clip=_OFFICIAL_CLIP,
    ),
    Preset(
        name="mindalle-imagenet-class",
        description="minDALL-E fine-tuned on ImageNet: one of 1000 classes to 256×256 pixels",
        licence=_OFFICIAL_LICENCE,
        stage1=VQGANConfig(),
        stage2=TransformerConfig(prefix="class", n_classes=1000, vocab_size_txt=0, ctx_len_txt=0),
        classifier=IMAGENET_CLASSIFIER,
    ),
    Preset(
        name="mindalle-imagenet-uncond",
        description="minDALL-E fine-tuned on ImageNet: 256×256 pixels without a prompt",
        licence=_OFFICIAL_LICENCE,
        stage1=VQGANConfig(),
        stage2=TransformerConfig(prefix="none", vocab_size_txt=0, ctx_len_txt=0),
    ),
)

TINY_PRESETS = (
    random_preset("tiny", "text prefix", TINY_VQGAN, _TINY_STAGE2),
    random_preset(
        "tiny-class",
        "class prefix, approximate GELU, no MLP bias",
        TINY_VQGAN,
        TransformerConfig(
            prefix="class",
            embed_dim=40,
            n_layers=2,
            n_heads=5,
            vocab_size_img=64,
            ctx_len_img=16,
            vocab_size_txt=0,
            ctx_len_txt=0,
            n_classes=10,
            mlp_bias=False,
            gelu_use_approx=True,
        ),
    ),
    random_preset(
        "tiny-uncond",
        "no prompt, no attention bias",
        TINY_VQGAN,
        TransformerConfig(
            prefix="none",
            embed_dim=32,
            n_layers=3,
            n_heads=4,
            vocab_size_img=64,
            ctx_len_img=16,
            vocab_size_txt=0,
            ctx_len_txt=0,
            attn_bias=False,
        ),
    ),
    random_preset(
        "tiny-enhance",
        "text prefix, 4×4 codes enhanced by 8×8 finer ones",
        TINY_VQGAN,
        _TINY_STAGE2,
        Enhancement(_TINY_UPSAMPLER, temperature=0.9, top_k=32, top_p=0.95),
    ),
)
