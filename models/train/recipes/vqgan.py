"""The recipe of the VQGAN codec: one grid of codes. Knows nothing of text."""

from __future__ import annotations

from torch import Tensor

from models.errors import ConfigError
from models.stage1.hq_vae import Quantised
from models.stage1.vqgan import VQGAN
from models.train.loop.run import Run
from models.train.loop.schedule import Schedule
from models.train.recipes.codec import CodecPlan
from models.train.recipes.grid_codes import GridCodes, Grids


def plan_of(_model: object, steps: int, is_fine_tuning: bool) -> CodecPlan:
    """A checkpoint has its codes: it goes on quantised, by AdamW at a low rate."""
    if is_fine_tuning:
        return CodecPlan(Schedule(steps), unquantised=-1, muon_lr=None, adam_lr=1e-5)
    return CodecPlan(Schedule(steps))


def codes_of(model: VQGAN, run: Run, plan: CodecPlan) -> GridCodes:
    """Its codebook in training.

    Raises:
        ConfigError: it learnt its codes in another way.
    """
    if model.config.quantizer != "nearest":
        raise ConfigError(f"a VQGAN of {model.config.quantizer} codes can be used, not trained")

    def quantise(features: Tensor) -> list[Quantised]:
        codes = model.quantize(features)
        return [Quantised(features, model.quantize.lookup(codes), codes)]

    grids = Grids(
        books=(model.quantize.embedding.weight,),
        features=model.features,
        quantise=quantise,
        unquantised=lambda features: [features],
        decode=lambda vectors: model.decode_features(vectors[0]),
    )
    return GridCodes(grids, run, plan, "codebook")
