"""The named presets, as data. Knows no torch, so that the API process can read it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.configs.backbone import BackboneConfig
from models.configs.enhancement import Enhancement
from models.configs.preset import Preset, StackConfig, TransformerConfig, VQGANConfig
from models.configs.rankers import IMAGENET_CLASSIFIER, ClipConfig
from models.configs.upsamplers import CellUpsamplerConfig
from models.errors import MissingFileError
from models.presets.dalle import DALLE_PRESETS
from models.presets.emoji import EMOJI_PRESETS
from models.presets.hq import HQ_PRESETS
from models.presets.pixels import PIXEL_PRESETS
from models.presets.random import TINY_VQGAN, random_preset
from models.presets.rq import RQ_PRESETS
from models.presets.taming import TAMING_PRESETS

WEIGHTS_FOLDER = Path(__file__).parents[1] / "weights"
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

_ALL = (
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
    *EMOJI_PRESETS,
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
    *RQ_PRESETS,
    *DALLE_PRESETS,
    *HQ_PRESETS,
    *TAMING_PRESETS,
    *PIXEL_PRESETS,
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}
# What callers may name to see a picture coarser than it is, whichever model made it.
VIEW_PARAMETERS = tuple(dict.fromkeys(v.parameter for preset in _ALL for v in preset.views))


def weights_folder(preset: Preset) -> Path | None:
    """Where the weights lie that a preset ships; None where random ones are made.

    Raises:
        MissingFileError: it ships none.
    """
    if preset.weights is None:
        raise MissingFileError(
            f"preset {preset.name} ships no weights: give its checkpoint folder (--checkpoint)"
        )
    return None if preset.weights == "random" else WEIGHTS_FOLDER / preset.weights


def without_missing_ranker(preset: Preset, folder: Path) -> Preset:
    """The preset as a folder has it that need not hold the file of its ranker."""
    has_clip = preset.clip is not None and (folder / preset.clip.weights).is_file()
    judge = preset.classifier
    has_classifier = judge is not None and (folder / judge.weights).is_file()
    return replace(
        preset,
        clip=preset.clip if has_clip else None,
        classifier=judge if has_classifier else None,
    )


def shipped_presets() -> tuple[str, ...]:
    """Names of the presets whose weights lie here."""
    return tuple(
        name
        for name, preset in PRESETS.items()
        if preset.weights not in (None, "random") and (WEIGHTS_FOLDER / preset.weights).is_dir()
    )


class UnknownPresetError(ValueError):
    """No preset has this name."""


def get_preset(name: str) -> Preset:
    """Look a preset up.

    Raises:
        UnknownPresetError: with the names that exist.
    """
    try:
        return PRESETS[name]
    except KeyError:
        known = ", ".join(sorted(PRESETS))
        raise UnknownPresetError(f"unknown preset {name!r}; known presets: {known}") from None
