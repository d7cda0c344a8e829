"""The register of recipes: which families can be trained, and how.

A recipe goes by its family's name and is found by its shape. Where nothing else says so, `shape`
is what is trained. A new family is its recipe's file and one entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from models.configs.codec import CodecConfig
from models.configs.hq import HQTransformerConfig
from models.configs.prior import PriorConfig
from models.configs.rq import RQTransformerConfig
from models.configs.transformer import TransformerConfig
from models.errors import ConfigError
from models.presets.register import get_preset
from models.train.loop.run import Run
from models.train.recipes import hq_transformer, hq_vae, rq_transformer, rq_vae, transformer, vqgan
from models.train.recipes.codec import CodecPlan, Codes
from models.train.recipes.prior import PriorLoss, PriorPlan, PromptShape

_Recipe = TypeVar("_Recipe", "CodecRecipe", "PriorRecipe")


@dataclass(frozen=True, slots=True)
class CodecRecipe:
    """How a kind of stage 1 is trained. Any: each function takes its own config and module.

    `prior` is the family of priors that usually draws its codes. `features` gives the extent
    (C, h, w) of what soft targets are made of, where that prior can have them; with `is_soft` it
    does, unless told otherwise.
    """

    shape: CodecConfig
    plan: Callable[[Any, int, bool], CodecPlan]  # of the model, steps, whether it goes on
    codes: Callable[[Any, Run, CodecPlan], Codes]
    prior: str
    features: Callable[[Any], tuple[int, int, int]] | None = None
    is_soft: bool = False

    @property
    def config(self) -> type[CodecConfig]:
        """The kind of shapes."""
        return type(self.shape)


@dataclass(frozen=True, slots=True)
class PriorRecipe:
    """How a kind of stage 2 is trained; `looked_up` are parts of names, see `optimisers`.

    `words` are what the names of a text's embeddings begin with. With `reads_codec` it needs stage
    1 to learn; with `shows_own` it can be shown codes of its own, see `PriorPlan.own_codes`.
    """

    config: type[PriorConfig]
    shape: Callable[[CodecConfig, PromptShape], PriorConfig]
    plan: Callable[[int, bool], PriorPlan]
    loss: PriorLoss
    looked_up: tuple[str, ...]
    words: tuple[str, ...]
    reads_codec: bool = False
    shows_own: bool = False


CODEC_RECIPES: dict[str, CodecRecipe] = {
    "vqgan": CodecRecipe(get_preset("emoji").stage1, vqgan.plan_of, vqgan.codes_of, "transformer"),
    "rq-vae": CodecRecipe(
        rq_vae.SHAPE,
        rq_vae.plan_of,
        rq_vae.RQCodes,
        "rq-transformer",
        rq_vae.features_of,
        is_soft=True,
    ),
    "hq-vae": CodecRecipe(
        hq_vae.SHAPE,
        hq_vae.plan_of,
        hq_vae.codes_of,
        "hq-transformer",
        hq_vae.features_of,
    ),
}
PRIOR_RECIPES: dict[str, PriorRecipe] = {
    "transformer": PriorRecipe(
        TransformerConfig,
        transformer.shape_of,
        transformer.plan_of,
        transformer.loss,
        transformer.LOOKED_UP,
        transformer.WORDS,
    ),
    "rq-transformer": PriorRecipe(
        RQTransformerConfig,
        rq_transformer.shape_of,
        rq_transformer.plan_of,
        rq_transformer.loss,
        rq_transformer.LOOKED_UP,
        rq_transformer.WORDS,
        reads_codec=True,
    ),
    "hq-transformer": PriorRecipe(
        HQTransformerConfig,
        hq_transformer.shape_of,
        hq_transformer.plan_of,
        hq_transformer.loss,
        hq_transformer.LOOKED_UP,
        hq_transformer.WORDS,
        shows_own=True,
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
