from __future__ import annotations

import pytest
from redis.asyncio import Redis

from models.presets.register import PRESETS
from service.answers.preset_cards import on_demand_cards, preset_card
from service.broker.keys import Key
from service.errors import StartRefused
from tests.servers import RedisServer
from tests.service.live_api import api_settings, serving


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_has_a_card(name: str) -> None:
    card = preset_card(PRESETS[name])

    assert card.model == name
    assert card.prompt_kind == PRESETS[name].prompt_kind
    assert (card.num_classes is not None) == (card.prompt_kind == "class")
    assert 1 <= card.defaults.num_candidates <= card.max_candidates


def test_names_are_separated_by_commas() -> None:
    assert list(on_demand_cards(" emoji, tiny ,")) == ["emoji", "tiny"]
    assert on_demand_cards("") == {}


def test_a_preset_that_does_not_exist_stops_the_start() -> None:
    with pytest.raises(StartRefused, match=r"MINDALLE_API__ON_DEMAND_MODELS.*'emojy'"):
        on_demand_cards("emojy")


async def test_jobs_wait_for_the_worker_that_an_autoscaler_will_start(
    valkey_server: RedisServer, redis: Redis
) -> None:
    settings = api_settings(valkey_server, api={"on_demand_models": "tiny"})
    async with serving(settings) as api, api.client() as client:
        assert (await client.get("/readyz")).status_code == 200
        taken = await client.post("/v1/jobs", json={"prompt": "a red heart"})
        other = await client.post("/v1/jobs", json={"prompt": "a red heart", "model": "emoji"})

    assert taken.status_code == 202
    assert other.status_code == 503
    assert await redis.zcard(Key.LIVE.of("tiny")) == 1  # what the autoscaler counts
