"""VQ-GAN's own released models and small random ones, as data. Knows no torch.

Shapes are those of the official files as far as they are known from outside; a folder's own yaml
has the last word. The authors' code is MIT-licensed and names no licence for the weights.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from models.configs.preset import Preset, SamplingDefaults
from models.configs.rankers import IMAGENET_CLASSIFIER
from models.configs.transformer import TransformerConfig
from models.configs.vqgan import VQGANConfig
from models.presets.random import TINY_VQGAN, random_preset

_LICENCE = "unknown"


def coordinate_tokens(resolution: int, factor: int, num_tokens: int) -> tuple[int, ...]:
    """What a model conditioned on coordinates gets for a whole picture.

    The mean of (row · width + column) / width² over each factor × factor cell, in num_tokens steps,
    halves rounded to even.
    """
    middle = Fraction(factor - 1, 2)
    places = range(resolution // factor)
    shares = (
        ((row * factor + middle) * resolution + column * factor + middle) / resolution**2
        for row in places
        for column in places
    )
    return tuple(round(share * num_tokens) for share in shares)


def _released(
    name: str, what: str, stage2: TransformerConfig, sampling: SamplingDefaults
) -> Preset:
    return Preset(
        name=name,
        description=f"VQ-GAN: {what} to 256×256 pixels",
        licence=_LICENCE,
        stage1=VQGANConfig(n_embed=stage2.vocab_size),
        stage2=stage2,
        sampling=sampling,
    )


def _stage2(vocab_size: int, layers: int, heads: int, width: int) -> TransformerConfig:
    return TransformerConfig(
        prefix="none",
        embed_dim=width,
        n_layers=layers,
        n_heads=heads,
        vocab_size_img=vocab_size,
        vocab_size_txt=0,
        ctx_len_txt=0,
        vocab_size=vocab_size,
        block_size=256,
    )


_FACES = SamplingDefaults(top_k=250, top_p=1.0)

_IMAGENET = _released(
    "vqgan-imagenet",
    "one of ImageNet's 1000 classes (1.4B parameters)",
    replace(_stage2(16384, 48, 24, 1536), prefix="class", n_classes=1000),
    SamplingDefaults(top_k=600, top_p=0.92),
)

_RELEASED = (
    replace(_IMAGENET, classifier=IMAGENET_CLASSIFIER),
    _released(
        "vqgan-ffhq",
        "faces without a prompt (802M parameters, FFHQ)",
        _stage2(1024, 24, 16, 1664),
        _FACES,
    ),
    _released(
        "vqgan-celebahq",
        "faces without a prompt (802M parameters, CelebA-HQ)",
        _stage2(1024, 24, 16, 1664),
        _FACES,
    ),
    _released(
        "vqgan-faceshq",
        "faces without a prompt (305M parameters, FFHQ and CelebA-HQ)",
        replace(
            _stage2(1024, 24, 16, 1024), block_size=512, start=coordinate_tokens(256, 16, 1024)
        ),
        SamplingDefaults(top_k=100),
    ),
)

# Odd sizes and switches on purpose: what a test passes on these, it passes on options that the
# released models leave alike.
_TINY_STAGE1 = replace(TINY_VQGAN, embed_dim=32)
_TINY_STAGE2 = TransformerConfig(
    prefix="class",
    embed_dim=32,
    n_layers=2,
    n_heads=2,
    vocab_size_img=64,
    ctx_len_img=16,
    vocab_size_txt=0,
    ctx_len_txt=0,
    n_classes=10,
    vocab_size=64,
    block_size=16,
)


_TINY = (
    random_preset(
        "tiny-taming-class",
        "VQ-GAN's own transformer, class prefix, more tokens than codes, codes by logits",
        replace(_TINY_STAGE1, quantizer="gumbel"),
        replace(_TINY_STAGE2, vocab_size=80, block_size=20),
    ),
    random_preset(
        "tiny-taming-uncond",
        "VQ-GAN's own transformer, no prompt: coordinates before the codes, rows to and fro",
        replace(_TINY_STAGE1, order="alternate", resamp_with_conv=False),
        replace(
            _TINY_STAGE2,
            prefix="none",
            n_classes=0,
            n_layers=3,
            n_heads=4,
            start=coordinate_tokens(32, 8, 64),
            n_unmasked=5,
            block_size=31,
        ),
    ),
)

TAMING_PRESETS = (*_RELEASED, *_TINY)
