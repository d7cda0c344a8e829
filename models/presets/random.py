"""A preset without a checkpoint: seeded random weights, made in memory, to test with.

And the small codec that most of these draw for. Knows no torch.
"""

from __future__ import annotations

from models.configs.codec import CodecConfig
from models.configs.enhancement import Enhancement
from models.configs.preset import Preset, SamplingDefaults
from models.configs.prior import PriorConfig
from models.configs.vqgan import VQGANConfig

# Odd sizes and switches on purpose: what a test passes on these, it passes on options that the
# large models leave at their defaults.
TINY_VQGAN = VQGANConfig(
    embed_dim=8,
    n_embed=64,
    z_channels=32,
    resolution=32,
    ch=32,
    ch_mult=(1, 1, 1, 2),
    num_res_blocks=1,
    attn_resolutions=(4,),
)


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
