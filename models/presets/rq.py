"""The released RQ models and small random ones, as data. Knows no torch.

Shapes and sampling are those of the official training configs; the folders' own config.yaml files
have the last word. The text model of 3.9 billion parameters has no published config: its folder
describes it, so it has no preset.
"""

from __future__ import annotations

from dataclasses import replace

from models.configs.preset import Preset, SamplingDefaults
from models.configs.prior import PrefixKind
from models.configs.rankers import IMAGENET_CLASSIFIER
from models.configs.rq import RQTransformerConfig, RQVAEConfig
from models.configs.transformer import StackConfig
from models.presets.random import random_preset

_LICENCE = "CC-BY-NC-SA-4.0"
_STAGE1 = RQVAEConfig()


def _released(
    name: str,
    what: str,
    stage2: RQTransformerConfig,
    sampling: SamplingDefaults,
    stage1: RQVAEConfig = _STAGE1,
) -> Preset:
    return Preset(
        name=name,
        description=f"RQ-Transformer: {what} to 256×256 pixels",
        licence=_LICENCE,
        stage1=stage1,
        stage2=stage2,
        sampling=sampling,
    )


def _stage2(
    prefix: PrefixKind, width: int, heads: int, body: int, head: int, *, num_classes: int = 1
) -> RQTransformerConfig:
    return RQTransformerConfig(
        prefix=prefix,
        vocab_size_cond=num_classes,
        block_size_cond=1,
        embed_dim=width,
        body=StackConfig(width, body, heads),
        head=StackConfig(width, head, heads),
    )


def _imagenet(name: str, size: str, width: int, heads: int, *layers: int) -> Preset:
    body, head = layers
    stage2 = _stage2("class", width, heads, body, head, num_classes=1000)
    what = f"one of ImageNet's 1000 classes ({size} parameters)"
    preset = _released(name, what, stage2, SamplingDefaults(top_k=None, top_p=0.92))
    return replace(preset, classifier=IMAGENET_CLASSIFIER)


_UNCONDITIONAL = SamplingDefaults(top_k=250, top_p=1.0)

_RELEASED = (
    _released(
        "rq-cc3m-650m",
        "text (654M parameters, Conceptual Captions)",
        RQTransformerConfig(),
        SamplingDefaults(top_k=None, top_p=0.7),
    ),
    _imagenet("rq-imagenet-480m", "481M", 1536, 24, 12, 4),
    _imagenet("rq-imagenet-821m", "821M", 1536, 24, 24, 4),
    _imagenet("rq-imagenet-1.4b", "1.4B", 1536, 24, 42, 6),
    _imagenet("rq-imagenet-3.8b", "3.8B", 2560, 40, 42, 6),
    _released(
        "rq-ffhq",
        "faces without a prompt (355M parameters)",
        replace(_stage2("none", 1024, 16, 24, 4), vocab_sizes=(2048,) * 4),
        _UNCONDITIONAL,
        replace(_STAGE1, n_embed=(2048,) * 4, attn_resolutions=(16,)),
    ),
    _released(
        "rq-church",
        "churches without a prompt (370M parameters)",
        _stage2("none", 1024, 16, 24, 4),
        _UNCONDITIONAL,
    ),
    _released(
        "rq-cat",
        "cats without a prompt (612M parameters)",
        _stage2("none", 1280, 20, 26, 4),
        _UNCONDITIONAL,
    ),
    _released(
        "rq-bedroom",
        "bedrooms without a prompt (612M parameters)",
        _stage2("none", 1280, 20, 26, 4),
        _UNCONDITIONAL,
    ),
)

# Odd sizes and switches on purpose: what a test passes on these, it passes on options that the
# released models leave alike.
_TINY_STAGE1 = RQVAEConfig(
    embed_dim=8,
    n_embed=(64,) * 4,
    latent_shape=(4, 4, 8),
    grid=(4, 4, 4),
    z_channels=32,
    resolution=32,
    ch=32,
    ch_mult=(1, 1, 1, 2),
    num_res_blocks=1,
    attn_resolutions=(4,),
    decay=(0.99,) * 4,
)
_TINY_TEXT = RQTransformerConfig(
    block_size=(4, 4, 4),
    vocab_sizes=(64,) * 4,
    vocab_size_cond=128,
    block_size_cond=8,
    embed_dim=32,
    input_embed_dim=8,
    body=StackConfig(32, 2, 2, resid_pdrop=0.0),
    head=StackConfig(32, 2, 4, resid_pdrop=0.0),
)


_TINY = (
    random_preset("tiny-rq", "RQ, text prefix, 4 codes a position", _TINY_STAGE1, _TINY_TEXT),
    random_preset(
        "tiny-rq-class",
        "RQ, class prefix, 3 depths with tables and classifiers of their own",
        replace(
            _TINY_STAGE1,
            n_embed=(64, 40, 24),
            grid=(4, 4, 3),
            shared_codebook=False,
            decay=(0.99,) * 3,
        ),
        replace(
            _TINY_TEXT,
            prefix="class",
            block_size=(4, 4, 3),
            vocab_sizes=(64, 40, 24),
            vocab_size_cond=10,
            block_size_cond=1,
            input_emb_vqvae=False,
            shared_tok_emb=False,
            shared_cls_emb=False,
            head=StackConfig(32, 1, 4, mlp_bias=False, gelu_use_approx=True, resid_pdrop=0.0),
        ),
    ),
    random_preset(
        "tiny-rq-uncond",
        "RQ, no prompt, 2×2 vectors quantised as one, no running sums",
        replace(
            _TINY_STAGE1,
            embed_dim=4,
            latent_shape=(8, 8, 4),
            ch_mult=(1, 1, 2),
            attn_resolutions=(8,),
        ),
        replace(
            _TINY_TEXT,
            prefix="none",
            vocab_size_cond=1,
            block_size_cond=1,
            input_embed_dim=16,
            cumsum_depth_ctx=False,
            body=StackConfig(32, 2, 2, attn_bias=False, resid_pdrop=0.0),
        ),
    ),
)

RQ_PRESETS = (*_RELEASED, *_TINY)
