from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from models.presets.register import PRESETS
from service.answers.preset_cards import preset_card
from service.answers.schemas import ImageRequest
from service.api.admission import make_job
from service.api.api_state import Origin
from service.api.http.auth import Caller
from service.broker.workers import ModelCard
from service.errors import InvalidRequest
from service.jobs import MAX_SEED, Job, Priority, Recipe
from service.settings import Settings
from tests.service.asgi_calls import arriving
from tests.service.painter import CLASS_CARD, TEXT_CARD, UNCOND_CARD

SETTINGS = Settings.model_validate({"api": {"default_deadline_s": 60.0, "max_deadline_s": 600.0}})
ORIGIN = Origin(Caller("k1", 2.0), arriving(), request_id="r1", traceparent="t1")


def _job(card: ModelCard = TEXT_CARD, **body: Any) -> Job:
    if card is TEXT_CARD:
        body.setdefault("prompt", "a cat")
    return make_job(ImageRequest(**body), card, SETTINGS, ORIGIN)


def _refused(card: ModelCard = TEXT_CARD, **body: Any) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        _job(card, **body)
    return caught.value.param


def test_defaults_come_from_the_card_and_the_rules() -> None:
    job = _job()
    assert job.recipe == Recipe("tiny", "a cat", job.recipe.seed, 1, 4, 32, None, 1.0)
    assert (job.size, job.output_format) == ("32x32", "png")
    assert (job.priority, job.deadline_s, job.embed_prompt) == (Priority.NORMAL, 60.0, True)
    assert (job.key_id, job.request_id, job.traceparent) == ("k1", "r1", "t1")


def test_what_the_body_names_wins() -> None:
    job = _job(n=2, num_candidates=8, top_k=64, top_p=0.5, temperature=0.7, seed=0,
               priority="high", deadline_s=5, output_format="webp", partial_images=3)  # fmt: skip
    assert job.recipe == Recipe("tiny", "a cat", 0, 2, 8, 64, 0.5, 0.7)
    assert job.priority == Priority.HIGH
    assert (job.deadline_s, job.output_format, job.partial_images) == (5, "webp", 3)


def test_a_seed_is_drawn_when_none_is_given() -> None:
    seeds = {_job().recipe.seed for _ in range(20)}
    assert len(seeds) == 20
    assert all(0 <= seed < MAX_SEED for seed in seeds)


def test_more_images_than_the_default_candidates_raise_the_candidates() -> None:
    assert _job(n=6).recipe.num_candidates == 6
    assert _job(replace(TEXT_CARD, max_candidates=3), prompt="a").recipe.num_candidates == 3


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 4, "num_candidates": 3}, "num_candidates"),
        ({"top_k": 65}, "top_k"),
        ({"size": "1024x1024"}, "size"),
        ({"deadline_s": 601}, "deadline_s"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 7}, "prompt"),
    ],
)
def test_what_the_model_can_not_do_is_named(body: dict[str, Any], param: str) -> None:
    assert _refused(**body) == param


RQ_CARD = preset_card(PRESETS["tiny-rq"])
LISTS = {"top_k": [64, 32, 1, 8], "top_p": [1, 0.9, 0.5, 0.1], "temperature": [1.5, 1, 1, 0.01]}


def test_a_list_has_one_value_for_each_depth() -> None:
    recipe = _job(RQ_CARD, prompt="a", **LISTS).recipe
    assert (recipe.top_k, recipe.top_p, recipe.temperature) == (
        (64, 32, 1, 8),
        (1.0, 0.9, 0.5, 0.1),
        (1.5, 1.0, 1.0, 0.01),
    )
    assert _job(RQ_CARD, prompt="a").recipe.top_k == 32
    assert _job(top_k=[7]).recipe.top_k == (7,)


def test_a_list_has_one_value_for_each_level_of_a_cell() -> None:
    card = preset_card(PRESETS["tiny-hq"])
    assert _job(card, prompt="a", top_k=[30, 5]).recipe.top_k == (30, 5)
    with pytest.raises(InvalidRequest, match="tiny-hq wants 2 such numbers"):
        _job(card, prompt="a", top_k=[30, 5, 5, 5, 5])
    assert _job(card, prompt="a").codes_per_candidate == 16 * 5


def test_defaults_of_a_model_may_be_lists() -> None:
    card = replace(RQ_CARD, defaults=replace(RQ_CARD.defaults, top_k=(9, 8, 7, 6)))
    assert _job(card, prompt="a").recipe.top_k == (9, 8, 7, 6)
    assert _job(card, prompt="a", top_k=5).recipe.top_k == 5


@pytest.mark.parametrize("field", LISTS)
@pytest.mark.parametrize("numbers", [[], [1], [1] * 3, [1] * 5, [0]])
def test_another_list_is_refused_with_the_length_that_is_wanted(
    field: str, numbers: list[int]
) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field} must be .* wants 4 such") as caught:
        _job(RQ_CARD, prompt="a", **{field: numbers})
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("field", "numbers", "words"),
    [
        ("top_k", [1, 0, 1, 0], "number 2 of the list, 0, is not."),
        ("top_k", [1, 1, 1, -(10**50)], "number 4 of the list is not."),
        ("top_k", [1, 1, 1, 1000], "top_k can't be more."),
        ("top_p", [1, 1, 1, 0.0], "number 4 of the list, 0, is not."),
        ("top_p", [1, 1, 1.25, 1], "number 3 of the list, 1.25, is not."),
        ("temperature", [1, 1000, 1, 1], "number 2 of the list, 1000, is not."),
    ],
)
def test_the_number_of_a_list_that_is_out_of_range_is_told(
    field: str, numbers: list[float], words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _job(RQ_CARD, prompt="a", **{field: numbers})
    assert caught.value.message.endswith(words)
    assert caught.value.param == field


def test_a_model_of_one_code_a_position_takes_a_list_of_one() -> None:
    assert _refused(top_k=[4, 4]) == "top_k"
    assert _refused(top_k=[65]) == "top_k"


def test_codes_are_counted_at_all_depths() -> None:
    assert _job(RQ_CARD, prompt="a").codes_per_candidate == 16 * 4
    assert _job().codes_per_candidate == 16


def test_a_least_score_is_for_models_that_score() -> None:
    scored = replace(TEXT_CARD, has_scores=True)
    job = _job(scored, prompt="a", n=3, accept={"min_score": 0.3})
    assert (job.min_score, job.recipe.num_candidates, job.first_candidates) == (0.3, 96, 8)
    job = _job(scored, prompt="a", num_candidates=5, accept={"min_score": 0.0})
    assert (job.min_score, job.recipe.num_candidates, job.first_candidates) == (0.0, 5, 5)
    assert _job(scored, prompt="a").min_score is None
    assert _refused(accept={"min_score": 0.3}) == "accept"


def test_a_small_worker_limits_images_and_candidates() -> None:
    small = replace(TEXT_CARD, max_candidates=3)
    assert _refused(small, prompt="a", n=4) == "n"
    assert _refused(small, prompt="a", num_candidates=4) == "num_candidates"


@pytest.mark.parametrize("size", ["auto", "32x32", None])
def test_a_size_that_the_model_makes_is_fine(size: str | None) -> None:
    assert _job(size=size).size == "32x32"


@pytest.mark.parametrize("prompt", [0, 9, "0", "9", " 7 "])
def test_a_class_model_takes_a_class_id(prompt: str | int) -> None:
    assert _job(CLASS_CARD, prompt=prompt).recipe.prompt == int(prompt)


@pytest.mark.parametrize("prompt", [-1, 10, "10", "cat", "", None, "-1", "1.0", "٣", "9" * 5000])
def test_a_class_model_takes_nothing_else(prompt: str | int | None) -> None:
    assert _refused(CLASS_CARD, prompt=prompt) == "prompt"


@pytest.mark.parametrize("prompt", ["", " ", None])
def test_an_unconditional_model_takes_no_prompt(prompt: str | None) -> None:
    assert _job(UNCOND_CARD, prompt=prompt).recipe.prompt is None


@pytest.mark.parametrize("prompt", ["cat", 0, " cat"])
def test_an_unconditional_model_refuses_a_prompt(prompt: str | int) -> None:
    assert _refused(UNCOND_CARD, prompt=prompt) == "prompt"
