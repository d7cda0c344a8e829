"""The models that were trained here and ship, as data: `emoji`, the default, and `emoji-hq`.

Knows no torch, nor where the weights lie.
"""

from __future__ import annotations

from models.configs.backbone import BackboneConfig
from models.configs.enhancement import Enhancement
from models.configs.hq import HQTransformerConfig, HQVAEConfig
from models.configs.preset import Preset, SamplingDefaults
from models.configs.rankers import ClipConfig
from models.configs.transformer import StackConfig, TransformerConfig
from models.configs.upsamplers import CellUpsamplerConfig
from models.configs.vqgan import VQGANConfig

# As `train clip` writes it: each folder's own JSON describes its ranker.
_RANKER = ClipConfig(
    "emoji",
    "clip/clip.safetensors",
    config="clip/open_clip_config.json",
    likelihood_weight=0.15,
)

_EMOJI_UPSAMPLER = CellUpsamplerConfig(
    num_steps=64,
    coarse_sizes=(1024,),
    n_embed=1024,
    embed_dim=16,
    codec=BackboneConfig(
        z_channels=128,
        resolution=64,
        ch=32,
        ch_mult=(1, 2),
        num_res_blocks=1,
        attn_resolutions=(),
        patch_size=2,
        norm_groups=16,
    ),
    body=StackConfig(256, 4, 4),
    head=StackConfig(256, 1, 4),
)

EMOJI_PRESETS = (
    Preset(
        name="emoji",
        description="A small minDALL-E trained from scratch on free emoji art: 64×64 pixels",
        licence="Apache-2.0",
        stage1=VQGANConfig(
            embed_dim=16,
            n_embed=1024,
            z_channels=128,
            resolution=64,
            ch=32,
            ch_mult=(1, 2, 4),
            num_res_blocks=1,
            attn_resolutions=(8,),
            patch_size=2,
            norm_groups=16,
        ),
        stage2=TransformerConfig(
            embed_dim=256,
            n_layers=6,
            n_heads=4,
            vocab_size_img=1024,
            ctx_len_img=64,
            vocab_size_txt=5301,
            ctx_len_txt=16,
        ),
        clip=_RANKER,
        sampling=SamplingDefaults(temperature=0.6, top_k=None, num_candidates=16),
        weights="emoji",
        enhancement=Enhancement(
            _EMOJI_UPSAMPLER,
            folder="enhance",
            is_default=False,
            temperature=0.4,
            is_mean=True,
            codec_sha256="24385dbbe78119f0704ce2a262168a65d5445d60c1ec5e72ec2d0bab1b000ad8",
        ),
    ),
    Preset(
        name="emoji-hq",
        description="An HQ-Transformer trained from scratch on free emoji art: 128×128 pixels",
        licence="Apache-2.0",
        stage1=HQVAEConfig(
            embed_dim=16,
            n_embed=(1024, 1024),
            z_channels=96,
            resolution=128,
            ch=48,
            ch_mult=(1, 2),
            num_res_blocks=1,
            attn_resolutions=(),
            patch_size=4,
            norm="none",
            use_attn=False,
        ),
        stage2=HQTransformerConfig(
            prefix="text",
            num_steps=64,
            sizes=(1024, 1024),
            ctx_len_img=64,
            vocab_size_txt=8758,
            ctx_len_txt=16,
            body=StackConfig(256, 8, 4, resid_pdrop=0.0),
            head=StackConfig(256, 1, 4, resid_pdrop=0.0),
        ),
        clip=_RANKER,
        sampling=SamplingDefaults(temperature=0.4, top_k=None, num_candidates=16),
        weights="emoji-hq",
    ),
)
