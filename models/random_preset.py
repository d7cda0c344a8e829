"""A preset without a checkpoint: seeded random weights, made in memory, to test with.

Knows no torch and no shape.
"""

from __future__ import annotations

from models.configs import CodecConfig, Preset, PriorConfig, SamplingDefaults
from models.enhancement import Enhancement


def random_preset(
    name: str,
    what: str,
    stage1: CodecConfig,
    stage2: PriorConfig,
    enhancement: Enhancement | None = None,
) -> Preset:
    """A small shape with random weights, to test with; `what` says what it stands for."""
    return Preset(
        name=name,
        description=f"Seeded random weights for tests: {what}",
        licence="Apache-2.0",
        stage1=stage1,
        stage2=stage2,
        sampling=SamplingDefaults(top_k=32, num_candidates=4),
        weights="random",
        enhancement=enhancement,
    )
