"""Model shapes and the named presets, as data.

Knows no torch, so that the API process can read it. What the numbers mean is in the model files;
names of the fields follow the official checkpoints' config.yaml where one exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PrefixKind = Literal["text", "class", "none"]


@dataclass(frozen=True, slots=True)
class Stage1Config:
    """Shape of a VQGAN (Esser et al. 2021): pixels ↔ a grid of codes.

    `patch_size` p > 1 folds each p×p block of pixels into channels before the encoder and unfolds
    it after the decoder; the official models have 1. `norm_groups` is 32 in all official models.
    """

    embed_dim: int = 256
    n_embed: int = 16384
    z_channels: int = 256
    resolution: int = 256
    in_channels: int = 3
    out_ch: int = 3
    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = (16,)
    pdrop: float = 0.0
    patch_size: int = 1
    norm_groups: int = 32

    @property
    def grid_size(self) -> int:
        """Codes per side."""
        return (self.resolution // self.patch_size) >> (len(self.ch_mult) - 1)


@dataclass(frozen=True, slots=True)
class Stage2Config:
    """Shape of the transformer over codes; `prefix` says what stands before the first code."""

    prefix: PrefixKind = "text"
    embed_dim: int = 1536
    n_layers: int = 42
    n_heads: int = 24
    vocab_size_img: int = 16384
    ctx_len_img: int = 256
    vocab_size_txt: int = 16384
    ctx_len_txt: int = 64
    n_classes: int = 0
    mlp_bias: bool = True
    attn_bias: bool = True
    gelu_use_approx: bool = False
    embd_pdrop: float = 0.0
    resid_pdrop: float = 0.0
    attn_pdrop: float = 0.0

    @property
    def prefix_len(self) -> int:
        """Positions that stand before the first code: the text, or one start-of-sequence."""
        return self.ctx_len_txt if self.prefix == "text" else 1

    @property
    def num_positions(self) -> int:
        """Cache positions a row needs; the last code is drawn but never fed back."""
        return self.prefix_len + self.ctx_len_img - 1

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.n_heads


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """Which open_clip model re-ranks; `weights` is a file inside the checkpoint folder.

    `config` names an open_clip JSON config inside the checkpoint folder, for models that open_clip
    does not know by name.
    """

    model_name: str
    weights: str
    config: str | None = None


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """What a request gets when it names nothing else."""

    temperature: float = 1.0
    top_k: int | None = 256
    top_p: float | None = None
    num_candidates: int = 16


@dataclass(frozen=True, slots=True)
class Preset:
    """A model by name: shapes, how it is sampled, where its weights lie and under which licence.

    `weights` is a folder below models/weights, `None` for a checkpoint that the operator brings, or
    "random" for seeded random weights built in memory.
    """

    name: str
    description: str
    licence: str
    stage1: Stage1Config
    stage2: Stage2Config
    clip: ClipConfig | None = None
    sampling: SamplingDefaults = SamplingDefaults()
    weights: str | None = None


_OFFICIAL_CLIP = ClipConfig(model_name="ViT-B-32-quickgelu", weights="clip/ViT-B-32.pt")
_OFFICIAL_LICENCE = "CC-BY-NC-SA-4.0"

# Odd sizes and switches on purpose: what a test passes on these, it passes on options that the
# large models leave at their defaults.
_TINY_STAGE1 = Stage1Config(
    embed_dim=8,
    n_embed=64,
    z_channels=32,
    resolution=32,
    ch=32,
    ch_mult=(1, 1, 1, 2),
    num_res_blocks=1,
    attn_resolutions=(4,),
)
_TINY_STAGE2 = Stage2Config(
    embed_dim=32,
    n_layers=2,
    n_heads=2,
    vocab_size_img=64,
    ctx_len_img=16,
    vocab_size_txt=128,
    ctx_len_txt=8,
)
_TINY_SAMPLING = SamplingDefaults(top_k=32, num_candidates=4)


def _tiny(name: str, what: str, stage2: Stage2Config) -> Preset:
    return Preset(
        name=name,
        description=f"Seeded random weights for tests: {what}",
        licence="Apache-2.0",
        stage1=_TINY_STAGE1,
        stage2=stage2,
        sampling=_TINY_SAMPLING,
        weights="random",
    )


_ALL = (
    Preset(
        name="mindalle-1.3b",
        description="minDALL-E: text to 256×256 pixels, 1.3B parameters",
        licence=_OFFICIAL_LICENCE,
        stage1=Stage1Config(),
        stage2=Stage2Config(),
        clip=_OFFICIAL_CLIP,
    ),
    Preset(
        name="mindalle-imagenet-class",
        description="minDALL-E fine-tuned on ImageNet: one of 1000 classes to 256×256 pixels",
        licence=_OFFICIAL_LICENCE,
        stage1=Stage1Config(),
        stage2=Stage2Config(prefix="class", n_classes=1000, vocab_size_txt=0, ctx_len_txt=0),
    ),
    Preset(
        name="mindalle-imagenet-uncond",
        description="minDALL-E fine-tuned on ImageNet: 256×256 pixels without a prompt",
        licence=_OFFICIAL_LICENCE,
        stage1=Stage1Config(),
        stage2=Stage2Config(prefix="none", vocab_size_txt=0, ctx_len_txt=0),
    ),
    Preset(
        name="emoji",
        description="A small minDALL-E trained from scratch on free emoji art: 64×64 pixels",
        licence="Apache-2.0",
        stage1=Stage1Config(
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
        stage2=Stage2Config(
            embed_dim=256,
            n_layers=6,
            n_heads=4,
            vocab_size_img=1024,
            ctx_len_img=64,
            vocab_size_txt=2325,
            ctx_len_txt=16,
        ),
        clip=ClipConfig(
            model_name="emoji", weights="clip/clip.safetensors", config="clip/open_clip_config.json"
        ),
        sampling=SamplingDefaults(temperature=0.6, top_k=None, num_candidates=16),
        weights="emoji",
    ),
    _tiny("tiny", "text prefix", _TINY_STAGE2),
    _tiny(
        "tiny-class",
        "class prefix, approximate GELU, no MLP bias",
        Stage2Config(
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
    _tiny(
        "tiny-uncond",
        "no prompt, no attention bias",
        Stage2Config(
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
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}


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
