"""What callers may know of a preset before any worker has told: its card, from the preset alone.

For models whose workers come on demand. Loads no weights and no torch.
"""

from __future__ import annotations

from models.presets import PRESETS, Preset
from service.broker.workers import ModelCard
from service.errors import StartRefused

_MAX_CANDIDATES = 96  # a job that is larger than a worker's rows enters in parts


def preset_card(preset: Preset) -> ModelCard:
    """The card; a checkpoint of the operator's own may differ, and its worker then says so."""
    side = preset.stage1.resolution
    stage2, sampling = preset.stage2, preset.sampling
    return ModelCard(
        model=preset.name,
        licence=preset.licence,
        size=f"{side}x{side}",
        prompt_len=stage2.prefix_len,
        prompt_kind=stage2.prefix,
        max_candidates=_MAX_CANDIDATES,
        default_num_candidates=sampling.num_candidates,
        vocab_size=stage2.vocab_size_img,
        num_steps=stage2.ctx_len_img,
        default_top_k=sampling.top_k,
        default_top_p=sampling.top_p,
        default_temperature=sampling.temperature,
        weights_digest="",
        num_classes=stage2.n_classes or None,
    )


def on_demand_cards(names: str) -> dict[str, ModelCard]:
    """Cards of the comma-separated presets. StartRefused for a name that no preset has."""
    cards = {}
    for name in (part.strip() for part in names.split(",")):
        if name and name not in PRESETS:
            raise StartRefused(f"MINDALLE_API__ON_DEMAND_MODELS: there is no preset {name!r}")
        if name:
            cards[name] = preset_card(PRESETS[name])
    return cards
