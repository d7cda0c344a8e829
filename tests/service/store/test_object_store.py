from __future__ import annotations

import logging
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from service.config.results import ResultsSettings
from service.errors import ResultsUnavailable, StartRefused
from service.store.object_store import ObjectStore, open_store
from tests.servers import free_port
from tests.stores import CREDENTIALS, Relay, S3Server, file_settings, s3_settings

DATA = bytes(range(256)) * 4096  # a megabyte: some pieces


def opened(settings: ResultsSettings) -> ObjectStore:
    store = open_store(settings)
    assert store is not None
    return store


@pytest.fixture(params=["file", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    if request.param == "file":
        yield opened(file_settings(tmp_path / "store"))
    else:
        yield opened(s3_settings(request.getfixturevalue("s3_server").url))


@pytest.fixture
def relay(s3_server: S3Server) -> Iterator[Relay]:
    with Relay(s3_server) as between:
        yield between


async def test_what_is_put_is_found_until_it_is_removed(store: ObjectStore) -> None:
    for name in ("job_1/1/0.png", "job_1/1/0_depth_1.png", "job_1/2/0.png", "job_12/1/0.png"):
        await store.put(name, name.encode() + DATA, "image/png")
    assert await store.get("job_1/2/0.png") == b"job_1/2/0.png" + DATA
    file = await store.open("job_1/1/0.png")
    assert file is not None
    pieces = [piece async for piece in file.chunks]
    assert b"".join(pieces) == b"job_1/1/0.png" + DATA
    assert len(pieces) > 1
    assert file.num_bytes == len(DATA) + 13

    await store.delete(["job_1/2/0.png", "job_1/2/1.png"])  # of which one is not there
    assert await store.get("job_1/2/0.png") is None
    await store.delete_below("job_1")
    assert await store.get("job_1/1/0_depth_1.png") is None
    assert await store.open("job_1/1/0.png") is None
    assert await store.get("job_12/1/0.png") is not None
    await store.delete_below("job_1")  # again, of nothing


async def test_redis_itself_needs_no_store() -> None:
    assert open_store(ResultsSettings()) is None


async def test_an_empty_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    store = opened(file_settings(tmp_path / "store"))
    await store.put("job_1/1/0.png", b"data", "image/png")
    (tmp_path / "store/job_1/1/1.png#1").write_bytes(b"da")  # its writer was killed
    await store.delete_below("job_1")
    assert list((tmp_path / "store").iterdir()) == []
    assert await store.sign(["job_1/1/0.png"], 60) == []


async def test_a_signed_address_is_open_to_anybody_for_as_long_as_is_set(
    s3_server: S3Server,
) -> None:
    store = opened(s3_settings(s3_server.url, presign_s=90))
    await store.put("job_1/1/0.png", DATA, "image/png")
    for left_s, wanted in ((3600, 90), (20.5, 20)):
        (address,) = await store.sign(["job_1/1/0.png"], left_s)
        assert httpx.URL(address).params["X-Amz-Expires"] == str(wanted)
    answer = httpx.get(address, trust_env=False)
    assert answer.content == DATA
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    assert await store.sign(["job_1/1/0.png"], 0.5) == []
    without = opened(s3_settings(s3_server.url, presign_s=0))
    assert await without.sign(["job_1/1/0.png"], 60) == []


async def test_a_busy_bucket_is_asked_again(relay: Relay, caplog: pytest.LogCaptureFixture) -> None:
    store = opened(s3_settings(relay.url))
    for verb in (store.put("a", DATA, "image/png"), store.get("a"), store.delete(["a"])):
        relay.refusals = 2
        before = relay.num_requests
        await verb
        assert relay.num_requests - before == 3
    assert caplog.records == []


async def test_a_slow_bucket_is_given_up_in_time_and_the_log_says_so_once(
    relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(s3_settings(relay.url, timeout_s=1.5))
    caplog.set_level(logging.INFO, "service")
    relay.delay_s = 0.1
    await store.put("a", b"data", "image/png")
    relay.delay_s = 10
    for _ in range(2):
        with pytest.raises(ResultsUnavailable) as caught:
            await store.get("a")
        assert caught.value.retry_after_s
    relay.delay_s = 0.0
    assert await store.get("a") == b"data"
    warning, back = [record.getMessage() for record in caplog.records]
    assert warning.startswith("the store of results: ")
    assert back == "the store of results answers again"


async def test_a_bucket_that_goes_on_refusing_is_unavailable(relay: Relay) -> None:
    faults: list[None] = []
    store = open_store(s3_settings(relay.url, timeout_s=1.0), lambda: faults.append(None))
    assert store is not None
    relay.refusals = 1000
    with pytest.raises(ResultsUnavailable):
        await store.put("a", DATA, "image/png")
    assert len(faults) == 1


async def test_a_body_that_breaks_off_is_never_taken_for_the_whole(relay: Relay) -> None:
    store = opened(s3_settings(relay.url))
    await store.put("a", DATA, "image/png")

    async def in_pieces(name: str) -> bytes:
        file = await store.open(name)
        assert file is not None
        return b"".join([piece async for piece in file.chunks])

    for read in (store.get, in_pieces):
        relay.cut = True
        with suppress(ResultsUnavailable):  # or the library asks for the rest
            assert await read("a") == DATA
        assert not relay.cut


@pytest.mark.parametrize("place", ["s3://results/x", "gs://results/x", "az://results/x"])
async def test_no_server_at_all(
    place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "bm90LWEtc2VjcmV0")
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    address = f"http://127.0.0.1:{free_port()}" if place.startswith("s3") else None
    settings = ResultsSettings(url=place, endpoint=address, timeout_s=0.5)
    store = opened(settings)
    with pytest.raises(ResultsUnavailable):
        await store.get("a")


def test_a_folder_that_can_not_be_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(StartRefused, match=f"MINDALLE_RESULTS__URL: .* {folder}: "):
            open_store(file_settings(folder))


async def test_a_folder_or_bucket_that_is_gone_says_nothing_of_its_files(
    s3_server: S3Server, tmp_path: Path
) -> None:
    folder = open_store(file_settings(tmp_path / "share"))
    bucket = open_store(s3_settings(s3_server.url, url="s3://no-such-bucket"))
    assert folder is not None
    assert bucket is not None
    (tmp_path / "share").rename(tmp_path / "away")
    for store in (folder, bucket):
        with pytest.raises(ResultsUnavailable):
            await store.get("job/a")
        with pytest.raises(ResultsUnavailable):
            await store.delete_below("job")
    (tmp_path / "away").rename(tmp_path / "share")
    assert await folder.get("job/a") is None
    await folder.delete_below("job")


async def test_a_full_disk_is_unavailable_and_leaves_no_half_file(tmp_path: Path) -> None:
    store = opened(file_settings(tmp_path / "store"))
    await store.put("job_1/1/0.png", b"small", "image/png")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(DATA) // 2, hard))
    try:
        with pytest.raises(ResultsUnavailable):
            await store.put("job_1/1/1.png", DATA, "image/png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await store.get("job_1/1/1.png") is None
    assert [path.name for path in (tmp_path / "store").rglob("*.png*")] == ["0.png"]
    await store.put("job_1/1/1.png", DATA, "image/png")
    assert await store.get("job_1/1/1.png") == DATA


async def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(StartRefused, match=r"mindalle-serve\[stores\]"):
        open_store(file_settings(tmp_path))
