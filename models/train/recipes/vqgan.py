"""The recipe of the VQGAN codec: one grid of codes. Knows nothing of text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from models.errors import ConfigError
from models.stage1.hq_vae import Quantised
from models.stage1.vqgan import VQGAN, Quantizer
from models.train.loop.run import Run
from models.train.loop.schedule import Schedule
from models.train.recipes.codec import CodecPlan
from models.train.recipes.grid_codes import GridCodes, Grids


def plan_of(_model: object, steps: int, is_fine_tuning: bool) -> CodecPlan:
    """A checkpoint has its codes: it goes on quantised, by AdamW at a low rate.

    Of a short run half learns with codes.
    """
    if is_fine_tuning:
        return CodecPlan(Schedule(steps), unquantised=-1, muon_lr=None, adam_lr=1e-5)
    plan = CodecPlan(Schedule(steps))
    return replace(plan, unquantised=min(plan.unquantised, steps // 2))


def one_grid(
    quantizer: Quantizer, features: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor]
) -> Grids:
    """Of one codebook; what makes features of images, and raw pixels of vectors."""

    def quantise(wanted: Tensor) -> list[Quantised]:
        codes = quantizer(wanted)
        return [Quantised(wanted, quantizer.lookup(codes), codes)]

    return Grids(
        books=(quantizer.embedding.weight,),
        features=features,
        quantise=quantise,
        unquantised=lambda wanted: [wanted],
        decode=lambda vectors: decode(vectors[0]),
    )


def codes_of(model: VQGAN, run: Run, plan: CodecPlan) -> GridCodes:
    """Its codebook in training.

    Raises:
        ConfigError: it learnt its codes in another way.
    """
    if model.config.quantizer != "nearest":
        raise ConfigError(f"a VQGAN of {model.config.quantizer} codes can be used, not trained")

    return GridCodes(
        one_grid(model.quantize, model.features, model.decode_features), run, plan, "codebook"
    )
