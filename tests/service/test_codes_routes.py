"""Pictures to codes and back over real HTTP, by a real worker with `tiny`."""

from __future__ import annotations

import base64

import numpy as np
from redis.asyncio import Redis

from models.pipeline import load
from tests.servers import RedisServer
from tests.service.files import file_of, noise, pixels_of
from tests.service.live_api import api_settings, serving
from tests.service.live_worker import worker_settings, working
from tests.service.makers import make_queue

ENCODE, DECODE = "/v1/images/encode", "/v1/images/decode"


async def test_a_picture_becomes_codes_and_they_become_its_reconstruction(
    redis: Redis, valkey_server: RedisServer
) -> None:
    picture = file_of(noise())
    async with (
        working(worker_settings(valkey_server), redis),
        serving(api_settings(valkey_server)) as api,
        api.client() as client,
    ):
        encoded = await client.post(ENCODE, files={"image": ("a.png", picture)})
        assert encoded.status_code == 200, encoded.text
        operation = (await client.get("/openapi.json")).json()["paths"][ENCODE]["post"]
        assert set(operation["responses"]["200"]["headers"]) <= set(encoded.headers)
        made = encoded.json()
        decoded = await client.post(
            DECODE, json={"codes": made["codes"]}, headers={"accept": "image/png"}
        )
        assert decoded.status_code == 200
        wrong = [
            await client.post(DECODE, json={"codes": codes})
            for codes in ([[64]] * 16, [[1]] * 15, [[1, 2]] * 16, [[1], [1, 2]], [[10**30]] * 16)
        ]
        dead = await make_queue(redis).depth("tiny")
    reconstruction = pixels_of(base64.b64decode(made["b64_json"]))
    assert np.array_equal(pixels_of(decoded.content), reconstruction)
    assert len(made["codes"]) == load("tiny").preset.num_steps
    error = np.square(reconstruction.astype(float) - noise()).mean()
    assert abs(made["psnr_db"] - 10 * np.log10(255**2 / error)) < 0.001
    for answer in wrong:
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == "codes"
        assert "16 lists of 1 codes, each below 64" in answer.json()["error"]["message"]
    assert dead.dead_letters == 0


async def test_an_operator_may_leave_them_out(redis: Redis, valkey_server: RedisServer) -> None:
    settings = api_settings(valkey_server, api={"codes": False})
    async with serving(settings) as api, api.client() as client:
        assert (await client.post(ENCODE, json={})).status_code == 404
        assert (await client.post(DECODE, json={})).status_code == 404
