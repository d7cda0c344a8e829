"""The released models of DALL-E's family and small random ones, as data. Knows no torch.

OpenAI has released no weights of DALL-E itself. ru-DALL-E's code is Apache-2.0, but its repository
names no licence for the weights: who serves them reads their model cards first.
"""

from __future__ import annotations

from dataclasses import replace

from models.configs.dalle import DalleConfig, ru_dalle_masks
from models.configs.preset import Preset, SamplingDefaults
from models.configs.vqgan import VQGANConfig
from models.presets.random import random_preset

_UNKNOWN = "unknown"
GUMBEL_F8 = VQGANConfig(
    n_embed=8192, ch_mult=(1, 1, 2, 4), attn_resolutions=(32,), quantizer="gumbel"
)
MALEVICH = DalleConfig()
SAMPLING = SamplingDefaults(top_k=2048, top_p=0.995)


def second_version(config: DalleConfig) -> DalleConfig:
    """The same shape by the rules of ru-DALL-E's version 2."""
    kinds = tuple("conv_v2" if kind == "conv_v3" else kind for kind in config.masks)
    return replace(config, masks=kinds, has_second_start=True)


def _released(name: str, what: str, stage2: DalleConfig) -> Preset:
    return Preset(
        name=f"rudalle-{name}",
        description=f"ru-DALL-E {what}: Russian text to 256×256 pixels",
        licence=_UNKNOWN,
        stage1=GUMBEL_F8,
        stage2=stage2,
        sampling=SAMPLING,
    )


_RELEASED = (
    _released("malevich", "Malevich (1.3B parameters)", MALEVICH),
    _released("malevich-v2", "Malevich, version 2 (1.3B)", second_version(MALEVICH)),
    _released("emojich", "Emojich (1.3B, version 2), emoji", second_version(MALEVICH)),
    _released("surrealist-xl", "Surrealist XL (1.3B)", MALEVICH),
    _released(
        "kandinsky",
        "Kandinsky (12B)",
        replace(MALEVICH, embed_dim=3840, n_layers=64, n_heads=60, masks=ru_dalle_masks(64)),
    ),
)

_TINY_STAGE1 = VQGANConfig(
    embed_dim=32,
    n_embed=64,
    z_channels=32,
    resolution=40,
    ch=32,
    ch_mult=(1, 1, 1, 2),
    num_res_blocks=1,
    attn_resolutions=(5,),
    quantizer="gumbel",
)
_TINY_STAGE2 = DalleConfig(
    embed_dim=32,
    n_layers=4,
    n_heads=2,
    vocab_size_txt=136,
    ctx_len_txt=8,
    vocab_size_img=64,
    grid=(5, 5),
    masks=ru_dalle_masks(4),
    conv_kernel=3,
)


_TINY = (
    random_preset("tiny-dalle", "DALL-E, row, column and conv masks", _TINY_STAGE1, _TINY_STAGE2),
    random_preset(
        "tiny-dalle-v2",
        "DALL-E, two starts, convolutions round the border",
        _TINY_STAGE1,
        second_version(_TINY_STAGE2),
    ),
    random_preset(
        "tiny-dalle-plain",
        "DALL-E, no sandwich norms, exact GELU, the other masks",
        _TINY_STAGE1,
        replace(
            _TINY_STAGE2,
            masks=("full", "masked_row", "conv_like"),
            sandwich_norms=False,
            gelu="erf",
        ),
    ),
)

DALLE_PRESETS = (*_RELEASED, *_TINY)
