"""The register of recipes: which families can be trained, and how.

A recipe goes by its family's name and is found by its shape. Where nothing else says so, `shape`
is what is trained. A new family is its recipe's file and one entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from models.configs import CodecConfig, PriorConfig, TransformerConfig
from models.errors import ConfigError
from models.presets import get_preset
from models.rq_configs import RQTransformerConfig
from models.stage1.hq_vae import HQVAE
from models.stage1.rq_vae import RQVAE
from models.stage1.vqgan import VQGAN
from models.train.loop.run import Run
from models.train.recipes import hq_vae, rq_transformer, rq_vae, transformer, vqgan
from models.train.recipes.codec import CodecPlan, Codes
from models.train.recipes.prior import PriorLoss, PriorPlan, PromptShape

_Recipe = TypeVar("_Recipe", "CodecRecipe", "PriorRecipe")


@dataclass(frozen=True, slots=True)
class CodecRecipe:
    """How a kind of stage 1 is trained. Any: each function takes its own config and module.

    `features` gives the extent (C, h, w) of what soft targets are made of, where a prior has them.
    """

    shape: CodecConfig
    build: Callable[[Any], nn.Module]
    plan: Callable[[Any, int, bool], CodecPlan]  # of the model, steps, whether it goes on
    codes: Callable[[Any, Run, CodecPlan], Codes]
    features: Callable[[Any], tuple[int, int, int]] | None = None

    @property
    def config(self) -> type[CodecConfig]:
        """The kind of shapes."""
        return type(self.shape)


@dataclass(frozen=True, slots=True)
class PriorRecipe:
    """How a kind of stage 2 is trained; `looked_up` are parts of names, see `optimisers`.

    With `is_soft` it can learn from stage 1's features, and needs stage 1 in any case.
    """

    config: type[PriorConfig]
    shape: Callable[[CodecConfig, PromptShape], PriorConfig]
    plan: Callable[[int, bool], PriorPlan]
    loss: PriorLoss
    looked_up: tuple[str, ...]
    is_soft: bool = False


CODEC_RECIPES: dict[str, CodecRecipe] = {
    "vqgan": CodecRecipe(get_preset("emoji").stage1, VQGAN, vqgan.plan_of, vqgan.codes_of),
    "rq-vae": CodecRecipe(rq_vae.SHAPE, RQVAE, rq_vae.plan_of, rq_vae.RQCodes, rq_vae.features_of),
    "hq-vae": CodecRecipe(hq_vae.SHAPE, HQVAE, hq_vae.plan_of, hq_vae.codes_of),
}
PRIOR_RECIPES: dict[str, PriorRecipe] = {
    "transformer": PriorRecipe(
        TransformerConfig,
        transformer.shape_of,
        transformer.plan_of,
        transformer.loss,
        transformer.LOOKED_UP,
    ),
    "rq-transformer": PriorRecipe(
        RQTransformerConfig,
        rq_transformer.shape_of,
        rq_transformer.plan_of,
        rq_transformer.loss,
        rq_transformer.LOOKED_UP,
        is_soft=True,
    ),
}


def codec_recipe(shape: CodecConfig) -> CodecRecipe:
    """The recipe for codecs of this shape."""
    return _of_kind(CODEC_RECIPES.values(), shape)


def prior_recipe(shape: PriorConfig) -> PriorRecipe:
    """The recipe for priors of this shape."""
    return _of_kind(PRIOR_RECIPES.values(), shape)


def _of_kind(recipes: Iterable[_Recipe], shape: CodecConfig | PriorConfig) -> _Recipe:
    for recipe in recipes:
        if isinstance(shape, recipe.config):
            return recipe
    raise ConfigError(f"there is no recipe to train a {type(shape).__name__}")
