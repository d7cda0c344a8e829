"""Which models a measurement is of: a preset, a checkpoint, or random weights of a given shape.

Reads the flags that name them. Measures nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from models.configs.preset import Preset
from models.configs.transformer import TransformerConfig
from models.configs.vqgan import VQGANConfig
from models.errors import ConfigError
from models.files.checkpoint import open_checkpoint
from models.measure import comparison
from models.pipeline import LoadOptions, Pipeline, load, load_random
from models.presets.register import PRESETS

# Flags of a shape: what they are when they are not given, and what they say.
SHAPE = {
    "layers": (12, "blocks"),
    "width": (512, "of the embedding"),
    "heads": (8, "of the attention; they divide the width"),
    "text": (64, "positions of the prompt, 0 for a model without"),
    "image": (256, "positions of the image"),
    "vocab": (16384, "codes to choose from"),
}
# For shapes that no official codec fits: its grid fits none, so no pixels are measured.
_NO_CODEC = VQGANConfig(ch=32, ch_mult=(1,), z_channels=32, num_res_blocks=1, attn_resolutions=())


@dataclass(frozen=True, slots=True)
class Subject:
    """Which model is measured."""

    preset: Preset
    checkpoint: Path | None

    def load(self, options: LoadOptions) -> Pipeline:
        """With its own weights where there are any; random ones take just as long."""
        if self.checkpoint or self.preset.weights:
            return load(self.preset.name, self.checkpoint, options)
        return load_random(self.preset, options)


def fill(args: argparse.Namespace) -> None:
    """Give the flags of a shape that were not given their values."""
    for name, (default, _) in SHAPE.items():
        if getattr(args, name) is None:
            setattr(args, name, default)


def chosen(args: argparse.Namespace) -> Subject:
    """The one that is measured by itself; its weights are not read yet.

    Raises:
        CheckpointError: the folder can't be used, or the flags' sizes don't fit each other.
    """
    if args.checkpoint:
        return Subject(open_checkpoint(args.checkpoint).preset, args.checkpoint)
    if args.preset:
        return Subject(PRESETS[args.preset], None)
    _check_heads(args)
    stage2 = TransformerConfig(
        prefix="text" if args.text else "none",
        embed_dim=args.width,
        n_layers=args.layers,
        n_heads=args.heads,
        vocab_size_img=args.vocab,
        vocab_size_txt=args.vocab if args.text else 0,
        ctx_len_img=args.image,
        ctx_len_txt=args.text,
    )
    name = f"{args.layers}x{args.width}"
    official = VQGANConfig(n_embed=args.vocab)
    stage1 = official if official.grid_size**2 == args.image else _NO_CODEC
    description = "random weights of a given shape"
    return Subject(Preset(name, description, "none", stage1, stage2), None)


def compared(args: argparse.Namespace) -> list[Subject]:
    """The grids of a given shape; or a checkpoint, whose pictures are enhanced.

    Raises:
        CheckpointError: the folder can't be used, or has no enhancement, or the flags' sizes don't
            fit each other.
    """
    if not args.checkpoint:
        _check_heads(args)
        shapes = comparison.presets(
            args.width, args.heads, args.layers, args.vocab, args.enhance_width
        )
        return [Subject(shape, None) for shape in shapes]
    preset = open_checkpoint(args.checkpoint).preset
    if preset.enhancement is None:
        raise ConfigError(f"--checkpoint: {args.checkpoint} has no enhancement to compare with")
    return [Subject(preset, args.checkpoint)]


def _check_heads(args: argparse.Namespace) -> None:
    if args.width % args.heads:
        raise ConfigError(f"--heads: {args.heads} must divide --width {args.width}")
