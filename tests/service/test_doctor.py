from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest
import torch
from pydantic import SecretStr
from redis.asyncio import Redis

from models.presets.register import WEIGHTS_FOLDER
from service import cli
from service.config.results import ResultsSettings
from service.doctor.checks import access, examine, model, ports, redis_server, result_store
from service.doctor.finding import Finding
from service.settings import Settings
from tests.privileges import permissions_hold
from tests.servers import RedisServer, free_port
from tests.stores import KINDS, S3Server, file_settings


def settings(**values: object) -> Settings:
    return Settings.model_validate({"model": "tiny", **values})


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.about: finding for finding in findings}


def on(url: str) -> Settings:
    return settings(redis={"url": SecretStr(url), "connect_timeout_s": 10, "timeout_s": 10})


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({}, "ok"),
        ({"api": {"host": "0.0.0.0"}}, "problem"),
        ({"api": {"host": "0.0.0.0"}, "auth": "off"}, "warning"),
        ({"api": {"host": "0.0.0.0"}, "api_keys": SecretStr("a:hunter2-hunter2")}, "ok"),
    ],
)
def test_who_may_call(values: dict[str, object], verdict: str) -> None:
    finding = access(settings(**values))

    assert finding.verdict == verdict
    assert bool(finding.advice) == (verdict != "ok")
    assert "hunter2" not in finding.found


def test_a_port_that_is_taken_by_another_program() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.01)
        taken = other.getsockname()[1]
        api, metrics = ports(settings(api={"port": taken}, worker={"metrics_port": free_port()}))

    assert (api.verdict, metrics.verdict) == ("problem", "ok")
    assert "MINDALLE_API__PORT" in api.advice


def test_a_host_that_is_none_of_this_machine() -> None:
    api, metrics = ports(settings(api={"host": "[::1]"}, worker={"metrics_host": "192.0.2.1"}))
    assert "MINDALLE_API__HOST" in api.advice
    assert "MINDALLE_WORKER__METRICS_HOST" in metrics.advice


async def test_a_redis_as_it_should_be(tmp_path: Path) -> None:
    server = RedisServer("redis", tmp_path, durable=True)
    server.start()
    found = by_name(await redis_server(on(server.url)))
    server.stop()

    assert {finding.verdict for finding in found.values()} == {"ok"}
    assert "Redis 7" in found["Redis"].found
    assert "appendfsync always: nothing is lost" in found["persistence"].found


async def test_a_redis_without_a_file_and_nearly_full(
    valkey_server: RedisServer, redis: Redis
) -> None:
    await redis.config_set("maxmemory", "1mb")
    try:
        found = by_name(await redis_server(on(valkey_server.url)))
    finally:
        await redis.config_set("maxmemory", "0")

    assert "Valkey" in found["Redis"].found
    assert found["persistence"].verdict == "warning"
    assert "appendonly yes" in found["persistence"].advice
    assert found["Redis memory"].verdict == "warning"


async def test_a_redis_that_evicts(valkey_server: RedisServer, redis: Redis) -> None:
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        (finding,) = await redis_server(on(valkey_server.url))
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")

    assert finding.verdict == "problem"
    assert "allkeys-lru" in finding.found
    assert "noeviction" in finding.advice


async def test_a_redis_that_is_not_there() -> None:
    (named,) = await redis_server(on(f"redis://:hunter2@127.0.0.1:{free_port()}/0"))
    (wrong,) = await redis_server(on("http://127.0.0.1/0"))

    assert (named.verdict, wrong.verdict) == ("problem", "problem")
    assert "MINDALLE_REDIS__URL" in named.advice
    assert "hunter2" not in named.found + named.advice


@pytest.mark.parametrize("results", KINDS, indirect=True)
async def test_a_store_of_results_that_takes_files(results: ResultsSettings) -> None:
    finding = await result_store(settings(results=results))

    assert finding.verdict == "ok"
    assert results.url in finding.found or results.url == "redis:"


async def test_a_store_of_results_that_takes_none(s3_server: S3Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    no_bucket = {"url": "s3://no-such-bucket", "endpoint": s3_server.url, "timeout_s": 10}
    away = f"http://127.0.0.1:{free_port()}"
    nowhere = {"url": "s3://results", "endpoint": away, "timeout_s": 4}
    for values, cause in ((no_bucket, "NoSuchBucket"), (nowhere, "error sending request")):
        finding = await result_store(settings(results=values))
        assert finding.verdict == "problem"
        assert cause in finding.found
        assert "MINDALLE_RESULTS__URL" in finding.advice
    finding = await result_store(settings(results=file_settings(tmp_path / "file")))
    assert finding.verdict == "problem"
    assert str(tmp_path / "file") in finding.found
    assert "folder" in finding.advice


def test_the_model_and_the_rows_that_fit() -> None:
    found = by_name(model(settings(worker={"device": "cpu", "rows": 8})))

    assert {finding.verdict for finding in found.values()} == {"ok"}
    assert found["memory"].found.startswith("8 rows of ")


def test_weights_in_8_bits_take_less_memory() -> None:
    told = []
    for kind in ("none", "int8"):
        worker = {"device": "cpu", "rows": 1, "dtype": "bfloat16", "quantization": kind}
        found = by_name(model(settings(model="emoji", worker=worker)))["memory"].found
        told.append(int(found.split(" and ")[1].split(" MB")[0]))
    assert told[1] < 0.8 * told[0]


def test_too_many_rows_for_the_memory() -> None:
    found = by_name(model(settings(model="mindalle-1.3b", worker={"device": "cpu", "rows": 4096})))

    assert found["memory"].verdict == "problem"
    assert "MINDALLE_WORKER__ROWS" in found["memory"].advice
    assert found["weights"].verdict == "problem"
    assert "MINDALLE_WORKER__CHECKPOINT" in found["weights"].advice


def test_a_device_and_a_model_that_do_not_exist() -> None:
    assert by_name(model(settings(worker={"device": "cuda:77"})))["device"].verdict == "problem"
    (finding,) = model(settings(model="emojy"))
    assert "MINDALLE_MODEL" in finding.advice


def test_a_number_type_that_the_cpu_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    asked = by_name(model(settings(worker={"device": "cpu", "dtype": "bfloat16"})))["device"]
    chosen = by_name(model(settings(worker={"device": "cpu"})))["device"]

    assert asked.verdict == "warning"
    assert "about four times slower than float32" in asked.found
    assert "MINDALLE_WORKER__DTYPE" in asked.advice
    assert chosen.verdict == "ok"
    assert chosen.found.endswith("float32")


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("~{mindalle}:* &{mindalle}:* +@all -@admin", ""),
        ("~* &* +@all -dump -restore -memory", ""),
        ("~* &* +@all -zadd -xreadgroup", ": XREADGROUP ZADD, inside scripts"),
        ("~* &* +@all -@stream", "XACK XADD"),
    ],
)
async def test_rights_that_scripts_need_are_asked_for(
    every_server: RedisServer, rules: str, told: str
) -> None:
    operator = Redis.from_url(every_server.url)
    user = ("ACL", "SETUSER", "small", "reset", "on", ">pw", *rules.split())
    try:
        await operator.execute_command(*user)  # type: ignore[no-untyped-call]  # untyped upstream
        url = every_server.url.replace("redis://", "redis://small:pw@")
        writes = by_name(await redis_server(on(url)))["Redis writes"]
    finally:
        await operator.execute_command("ACL", "DELUSER", "small")  # type: ignore[no-untyped-call]  # untyped upstream
        await operator.aclose()
    assert writes.verdict == ("problem" if told else "ok")
    assert told in writes.found
    assert ("ACL SETUSER" in writes.advice) == bool(told)


@pytest.mark.parametrize("name", ["config.yaml", "stage1-00000.safetensors"])
def test_weights_that_may_not_be_read_are_one_finding_of_many(tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(WEIGHTS_FOLDER / "emoji", tmp_path / "emoji"))
    (folder / name).chmod(0)
    with permissions_hold():
        found = by_name(
            model(settings(model="emoji", worker={"checkpoint": folder, "device": "cpu"}))
        )
    assert found["weights"].verdict == "problem"
    assert found["weights"].found == f"{folder / name}: Permission denied"
    assert found["device"].verdict == "ok"


def test_weights_whose_checksums_are_right_and_then_not(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(WEIGHTS_FOLDER / "emoji", tmp_path / "emoji"))
    there = settings(model="emoji", worker={"checkpoint": folder, "device": "cpu"})
    good = by_name(model(there))["weights"]
    damaged = max(folder.rglob("*.safetensors"), key=lambda path: path.stat().st_size)
    data = damaged.read_bytes()
    damaged.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    bad = by_name(model(there))["weights"]

    assert good.verdict == "ok"
    assert "every checksum right" in good.found
    assert by_name(model(settings()))["ranking"].found.startswith("neither a CLIP")
    assert bad.verdict == "problem"


def test_a_machine_without_torch_can_run_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    (finding,) = model(settings())
    assert finding.verdict == "skipped"


async def test_all_of_it(valkey_server: RedisServer) -> None:
    found = by_name(await examine(on(valkey_server.url)))

    assert list(found) == [
        "access", "API port", "metrics port", "Redis", "persistence", "Redis memory",
        "Redis writes", "results", "weights", "ranking", "device", "memory",
    ]  # fmt: skip


def test_the_command_says_what_to_do_and_fails_when_something_must_be_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINDALLE_MODEL", "tiny")
    monkeypatch.setenv("MINDALLE_API__PORT", str(free_port()))
    monkeypatch.setenv("MINDALLE_REDIS__URL", f"redis://127.0.0.1:{free_port()}/0")

    assert cli.main(["doctor"]) == 1
    assert "PROBLEM  Redis" in capsys.readouterr().out
    assert cli.main(["doctor", "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"about", "verdict", "found", "advice"} == set(lines[0])


def test_the_command_prints_the_page_of_settings(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "docs/settings.md"

    assert cli.main(["config", "table"]) == 0
    assert capsys.readouterr().out == page.read_text()


@pytest.mark.parametrize(("limit_mb", "verdict"), [(None, "ok"), (100, "ok"), (1, "problem")])
def test_each_of_several_models_is_looked_at_and_all_together(
    limit_mb: int | None, verdict: str
) -> None:
    worker = {"models": "tiny,tiny-rq", "models_memory_mb": limit_mb, "device": "cpu", "rows": 2}
    found = by_name(model(settings(worker=worker)))
    assert {found[f"{name}: memory"].verdict for name in ("tiny", "tiny-rq")} == {"ok"}
    assert found["models"].verdict == verdict
    assert ("tiny, tiny-rq" in found["models"].found) == (verdict == "problem")
