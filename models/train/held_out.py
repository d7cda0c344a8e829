"""What a prior is judged by while it learns: the loss of pictures that training doesn't see.

They are encoded once, each with one of its captions. Knows no family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

import torch
from torch import nn

from models.configs.prior import PriorConfig
from models.families import build_prior
from models.train.codes import encode_all
from models.train.data.data_set import DataSet, Variant
from models.train.loop.learner import Weights, with_weights
from models.train.recipes.prior import Examples, PriorTrainer

_BATCH = 16

ToIds = Callable[[str, Random], list[int]]


def examples_of(
    data: DataSet, number: int, codec: nn.Module, to_ids: ToIds, *, is_soft: bool
) -> dict[str, Examples]:
    """Up to `number` of each sort that the data has; with `is_soft` stage 1's features, too."""
    return {
        name: _encoded(data, variants, codec, to_ids, is_soft=is_soft)
        for name, variants in data.judged(number).items()
        if variants
    }


def _encoded(
    data: DataSet, variants: tuple[Variant, ...], codec: nn.Module, to_ids: ToIds, *, is_soft: bool
) -> Examples:
    rng = Random("held out")
    codes, features = encode_all(codec, data, variants, is_soft=is_soft)
    return Examples(
        torch.tensor([to_ids(data.caption(variant, rng), rng) for variant in variants]),
        codes if codes.shape[-1] > 1 else codes[..., 0],
        features,
    )


@torch.no_grad()
def losses(
    trainer: PriorTrainer, shape: PriorConfig, weights: Weights, judged: Mapping[str, Examples]
) -> dict[str, float]:
    """`val_loss` and the like of weights in the trainer's way, always by the same draws.

    Empty where there is nothing to judge by.
    """
    if not judged:
        return {}
    found, fresh = {}, build_prior(shape, trainer.codec or nn.Identity())
    model = with_weights(fresh, weights, trainer.engine.device)
    for name, examples in judged.items():
        rng = torch.Generator(trainer.engine.device).manual_seed(0)
        parts = examples.to(trainer.engine.device).parts(-(-len(examples.codes) // _BATCH))
        total = sum(len(part.codes) * float(trainer.loss_of(model, part, rng)) for part in parts)
        found[f"{name}_loss"] = total / len(examples.codes)
    return found
