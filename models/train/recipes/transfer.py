"""Start a class-conditional or unconditional model from a text checkpoint (minDALL-E → ImageGPT).

Blocks, code and position embeddings and the last norm are taken over; the text parts are left
behind, and the head and the start-of-sequence are fresh, as in the reference.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from models.configs.preset import Preset
from models.configs.prior import PrefixKind
from models.configs.transformer import TransformerConfig
from models.errors import ConfigError, KeyReport
from models.families import upstream_shapes
from models.files import checkpoint as checkpoints
from models.files.checkpoint import Checkpoint
from models.files.weights import shapes
from models.stage2.transformer import Transformer

_FRESH = ("head.", "sos.")


def shape_of(preset: Preset) -> TransformerConfig:
    """Its stage 2's shape. ConfigError where it is another kind of model than this one trains."""
    if not isinstance(preset.stage2, TransformerConfig):
        raise ConfigError(f"{preset.name} has another stage 2 than minDALL-E's transformer")
    return preset.stage2


def without_text(
    config: TransformerConfig, prefix: PrefixKind, n_classes: int = 0
) -> TransformerConfig:
    """The same transformer behind another prefix."""
    classes = n_classes if prefix == "class" else 0
    return replace(config, prefix=prefix, n_classes=classes, vocab_size_txt=0, ctx_len_txt=0)


def transfer(
    source: Checkpoint, prefix: PrefixKind, n_classes: int = 0
) -> tuple[Transformer, KeyReport]:
    """A new model with the source's weights where they fit.

    Args:
        source: a text checkpoint.
        prefix: "class" or "none".
        n_classes: how many classes, for "class".

    Returns:
        The model, its fresh parts drawn from torch's generator (head N(0, 0.02), start-of-sequence
        N(0, 1)); and what was missing from and left over in the source, by upstream names.
    """
    old = checkpoints.load_stage2(source)
    new = Transformer(without_text(shape_of(source.preset), prefix, n_classes))
    kept = {k: v for k, v in old.state_dict().items() if k in new.state_dict()}
    taken = {name: value for name, value in kept.items() if not name.startswith(_FRESH)}
    new.load_state_dict(taken, strict=False)
    torch.nn.init.normal_(new.head.weight, std=0.02)
    needed = upstream_shapes(new.config, shapes(new))
    return new, KeyReport.compare(needed, upstream_shapes(source.preset.stage2, shapes(old)))
