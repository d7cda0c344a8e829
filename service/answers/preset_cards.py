"""What callers may know of a preset before any worker has told: its card, from the preset alone.

For models whose workers come on demand. Loads no weights and no torch.
"""

from __future__ import annotations

from dataclasses import replace

from models.configs.filter_words import filter_words
from models.configs.preset import Preset
from models.presets.register import PRESETS
from service.broker.workers import ModelCard
from service.errors import StartRefused


def preset_card(preset: Preset) -> ModelCard:
    """The card; a checkpoint of the operator's own may differ, and its worker then says so."""
    width, height = preset.size
    return ModelCard(
        model=preset.name,
        licence=preset.licence,
        size=f"{width}x{height}",
        prompt_len=preset.prompt_len,
        prompt_kind=preset.prompt_kind,
        vocab_size=max(preset.vocab_sizes),
        codes_per_candidate=preset.codes_per_image,
        defaults=preset.sampling,
        num_classes=preset.num_classes,
        depth=preset.depth,
        levels=len(preset.codes_per_level),
        has_scores=preset.has_scores,
        filters=filter_words(preset),
        enhances=preset.enhancement.is_default if preset.enhancement else None,
        views=tuple((view.parameter, view.value) for view in preset.views),
    )


def on_demand_cards(names: str) -> dict[str, ModelCard]:
    """Cards of the comma-separated presets. StartRefused for a name that no preset has."""
    cards = {}
    for name in (part.strip() for part in names.split(",")):
        if name and name not in PRESETS:
            raise StartRefused(f"MINDALLE_API__ON_DEMAND_MODELS: there is no preset {name!r}")
        if name:
            # The workers that will come are of this release, and take pictures as it does.
            cards[name] = replace(preset_card(PRESETS[name]), takes_pictures=True)
    return cards
