"""Two releases side by side on one Redis: each reads what the other one wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from redis.asyncio import Redis

from models.presets.register import PRESETS
from service.answers.job_answer import JobAnswer
from service.answers.model_answers import ModelAnswer, WorkerStatus
from service.answers.preset_cards import preset_card
from service.answers.schemas import ImageRequest
from service.broker.dead_letters import DeadLetters
from service.broker.workers import Workers
from service.jobs import Image, JobStatus, Recipe, Succeeded
from service.worker.pictures import png
from tests.conftest import Clock
from tests.service.makers import claim_one, make_leases, make_queue, make_sweeper, put
from tests.service.releases import (
    BODY,
    IDEMPOTENCY,
    RECIPE,
    RUNNING,
    SUCCEEDED,
    WAITING,
    load,
    play,
    written,
)

DATA = Path(__file__).parents[1] / "data/last_release"
KEYS: dict[str, Any] = json.loads((DATA / "redis.json").read_text())
ANSWERS: dict[str, Any] = json.loads((DATA / "answers.json").read_text())
JOBS = [name for name in ANSWERS if name.startswith("job_")]
NEW_FIELDS = {"scores"}  # of a job's hash: the last release passes over those that it doesn't know
# The last release asks for none of these of a job that has ended; for the last two, if it failed.
OLD_FIELDS = {"cost", "deadline_ms", "isolated", "keep_ms", "priority", "score"}
OLD_FIELDS |= {"codes_done", "codes_total"}
NEW_KEYS = {"{mindalle}:holder:w1", "{mindalle}:traits:w1"}  # it never looks at
NEW_ANSWERS = {
    "native_size",
    "alias_of",
    "views",
    "depth",
    "levels",
    "num_drawn",
    "has_scores",
    "accept",
    "filters",
    "takes_pictures",
    "source",
    "enhance",
    "enhances",
    "is_loaded",
}  # callers pass over what they don't know


@pytest.fixture
async def old(redis: Redis) -> Redis:
    """A Redis as the last release left it."""
    await load(redis, KEYS)
    return redis


@pytest.mark.parametrize("job_id", JOBS)
async def test_jobs_of_the_last_release_are_answered_as_it_did(
    old: Redis, clock: Clock, job_id: str
) -> None:
    view = await make_queue(old, clock).get(job_id)
    answer = JobAnswer.of(view, lambda rank: f"/{rank}").model_dump(mode="json")
    assert _known(answer) == ANSWERS[job_id]


def _known(answer: dict[str, Any]) -> dict[str, Any]:
    """What the last release answered, too."""
    return {name: value for name, value in answer.items() if name not in NEW_ANSWERS}


async def test_workers_of_the_last_release_serve(old: Redis) -> None:
    (worker,) = await Workers(old).list()
    assert worker.is_serving
    assert worker.card == replace(preset_card(PRESETS["tiny"]), filters=())
    assert _known(ModelAnswer.of(worker.card, 1).model_dump(mode="json")) == ANSWERS["model"]
    assert _known(WorkerStatus.of(worker).model_dump(mode="json")) == ANSWERS["worker"]


async def test_what_waited_is_drawn_and_what_ran_comes_back(old: Redis, clock: Clock) -> None:
    queue, leases, sweeper = (
        make_queue(old, clock),
        make_leases(old, clock),
        make_sweeper(old, clock),
    )
    await sweeper.sweep()
    waiting = await claim_one(leases, 4)
    assert (waiting.job.id, waiting.job.recipe) == (WAITING, Recipe(model="tiny", **RECIPE))
    clock.advance(11)  # the lease of the worker of the last release ends
    await sweeper.sweep()
    again = await claim_one(leases, 4)
    assert {waiting.job.id, again.job.id} <= {WAITING, RUNNING}
    assert await leases.finish(again, Succeeded((Image(0, 0, None, b"x"),), "32x32", {}))
    assert (await queue.get(again.job.id)).status == JobStatus.SUCCEEDED


async def test_its_idempotency_keys_and_dead_letters_are_known(old: Redis, clock: Clock) -> None:
    job = await make_queue(old, clock).known_job("k1", IDEMPOTENCY)
    assert job is not None
    assert job.id == WAITING
    letters = DeadLetters(old, result_ttl_s=60)
    (letter,) = await letters.list()
    assert (letter.error, letter.attempts, letter.job.recipe.model) == ("boom", 3, "tiny")


def test_a_request_sent_again_is_known_by_both() -> None:
    digest = ImageRequest.model_validate(BODY).digest()
    assert digest == (DATA / "digest.txt").read_text().strip()


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_a_picture_of_the_last_release_says_how_it_was_made(output_format: str) -> None:
    path = DATA / f"picture.{output_format}"
    recipe = Recipe(model="tiny", **RECIPE)
    assert png.read(path) == png.Record(recipe, candidate=3, score=0.25)


def test_a_picture_of_today_says_it_in_the_same_words() -> None:
    with Pillow.open(DATA / "picture.png") as image:
        text = image.info[png.KEYWORD]
    recipe = Recipe(model="tiny", **RECIPE)
    assert png.Record.of(recipe, 3, 0.25, has_prompt=True).to_json() == text


async def test_the_last_release_can_read_what_is_written_now(redis: Redis, clock: Clock) -> None:
    """Its readers need every field that it wrote; in a worker's sign they refuse any other."""
    await play(redis, clock, preset_card(PRESETS["tiny"]))
    now = await written(redis)
    assert now.keys() >= NEW_KEYS
    for name in NEW_KEYS:
        del now[name]
    assert now.keys() == KEYS.keys()
    for name, content in now.items():
        then = KEYS[name]
        assert content["type"] == then["type"], name
        if content["type"] == "hash":
            has_ended = "finished_ms" in then["value"]
            kept = content["value"].keys() - NEW_FIELDS
            assert kept <= then["value"].keys(), name
            assert then["value"].keys() - kept <= (OLD_FIELDS if has_ended else set()), name
    for name in now:
        for text, before in zip(_json(now[name]), _json(KEYS[name]), strict=True):
            assert _form(text) == _form(before), name
    worker = "{mindalle}:worker:w1"
    assert _json(now[worker]) == _json(KEYS[worker])


def _json(content: dict[str, Any]) -> list[Any]:
    """Every JSON text in a key's content, in order."""
    match content["type"]:
        case "string":
            texts = [content["value"]]
        case "hash":
            texts = [content["value"].get(name) for name in ("body", "images", "timings")]
        case "stream":
            texts = [entry.get(name) for _, entry in content["value"] for name in ("data", "body")]
        case _:
            texts = []
    return [json.loads(text) for text in texts if text]


def _form(value: Any) -> Any:
    """The names in it and the types of what is no container."""
    if isinstance(value, dict):
        return {name: _form(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_form(item) for item in value]
    return type(value)


async def test_what_a_later_release_adds_to_a_job_is_let_pass(old: Redis, clock: Clock) -> None:
    name = f"{{mindalle}}:job:{SUCCEEDED}"
    images = json.dumps([[0, 3, 0.25, 4, "wide"], [1, 1, 0.0, 6, "wide"]])
    await old.hset(name, mapping={"wings": "2", "images": images})
    await old.hdel(name, "attempts", "created_ms", "timings")
    view = await make_queue(old, clock).get(SUCCEEDED)
    assert [(meta.candidate, meta.score) for meta in view.images] == [(3, 0.25), (1, 0.0)]
    assert (view.attempts, view.timings_s) == (0, {})


async def test_a_score_that_is_not_there_is_null_and_a_number_for_the_last_release(
    redis: Redis, clock: Clock
) -> None:
    queue, leases = make_queue(redis, clock), make_leases(redis, clock)
    job = await put(queue)
    images = (Image(0, 1, None, b"a"), Image(1, 0, 0.0, b"b"))
    await leases.finish(await claim_one(leases), Succeeded(images, "32x32", {}))
    fields = (await written(redis))[f"{{mindalle}}:job:{job.id}"]["value"]
    assert json.loads(fields["scores"]) == [None, 0.0]
    assert json.loads(fields["images"]) == [[0, 1, 0.0, 1], [1, 0, 0.0, 1]]
    assert [meta.score for meta in (await queue.get(job.id)).images] == [None, 0.0]
