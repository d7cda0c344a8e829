"""What must hold of every family's recipe, and of the next one's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.configs.codec import CodecConfig
from models.configs.preset import Preset
from models.configs.prior import PriorConfig
from models.errors import ConfigError
from models.families import build_codec, build_prior
from models.files import config
from models.files.weights import on_meta
from models.stage1.vqgan import VQGAN
from models.train.loop.muon import Muon
from models.train.loop.run import Run
from models.train.loop.schedule import Schedule
from models.train.recipes.prior import PriorPlan, PromptShape
from models.train.recipes.register import CODEC_RECIPES, PRIOR_RECIPES, codec_recipe, prior_recipe
from tests.models.mindalle import codec_shape

PROMPTS = (PromptShape("text", 300, 16), PromptShape("class", 10), PromptShape("none"))


def usual_prior(codec: CodecConfig, prompt: PromptShape) -> PriorConfig:
    return PRIOR_RECIPES[codec_recipe(codec).prior].shape(codec, prompt)


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.kind)
@pytest.mark.parametrize("family", CODEC_RECIPES)
def test_its_own_shapes_fit_each_other_and_can_be_shipped(family: str, prompt: PromptShape) -> None:
    stage1 = CODEC_RECIPES[family].shape
    stage2 = usual_prior(stage1, prompt)
    assert (stage2.num_steps, len(stage2.vocab_sizes)) == stage1.code_shape
    assert (stage2.prompt_kind, stage2.prompt_len) == (prompt.kind, prompt.length)
    document = config.document(Preset("own", "of a test", "none", stage1, stage2))
    read = config.parse(document, Path("own"))
    assert (read.stage1, read.stage2) == (stage1, stage2)


@pytest.mark.parametrize("family", CODEC_RECIPES)
def test_muon_has_the_matrices_between_tables_and_classifiers(family: str) -> None:
    stage1 = CODEC_RECIPES[family].shape
    stage2 = usual_prior(stage1, PROMPTS[0])
    model = on_meta(lambda: build_prior(stage2, build_codec(stage1))).requires_grad_(True)
    muon, _ = PriorPlan(Schedule(9)).optimisers(model, prior_recipe(stage2).looked_up)
    assert isinstance(muon, Muon)
    its_own = {id(weight) for weight in muon.param_groups[0]["params"]}
    named = dict(model.named_parameters())
    matrices = {name for name, weight in named.items() if "blocks." in name and weight.ndim > 1}
    inner = {name for name, weight in named.items() if id(weight) in its_own}
    assert matrices <= inner
    assert inner - matrices <= {"input_mlp.weight", "head_mlp.weight"}


@pytest.mark.parametrize("family", CODEC_RECIPES)
def test_a_short_run_has_time_to_learn_its_codes(family: str) -> None:
    """Of one that ended before they begin each picture would be the same few codes."""
    recipe = CODEC_RECIPES[family]
    model = on_meta(lambda: build_codec(recipe.shape))
    started = [recipe.plan(model, steps, False).unquantised for steps in (2, 100, 400, 4000)]
    assert started == [1, 50, 200, 200]


def test_what_can_only_be_used_is_refused_by_name(tmp_path: Path) -> None:
    gumbel = replace(codec_shape("tiny"), quantizer="gumbel")
    model, recipe = VQGAN(gumbel), codec_recipe(gumbel)
    plan = recipe.plan(model, 9, True)
    with pytest.raises(ConfigError, match="gumbel"):
        recipe.codes(model, Run(tmp_path, 0), plan)
