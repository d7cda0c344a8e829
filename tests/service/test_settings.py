from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from service.client.protocol import STREAM_SILENCE_S
from service.errors import StartRefused
from service.settings import describe, is_loopback, load, show


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("MINDALLE_"):
            monkeypatch.delenv(name)


def test_groups_are_read_with_two_underscores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDALLE_MODEL", "tiny")
    monkeypatch.setenv("MINDALLE_QUEUE__MAX_DEPTH", "7")
    monkeypatch.setenv("MINDALLE_WORKER__ROWS", "4")
    settings = load()
    assert (settings.model, settings.queue.max_depth, settings.worker.rows) == ("tiny", 7, 4)
    assert settings.queue.max_attempts == 3


def test_flags_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDALLE_MODEL", "tiny")
    assert load(model="emoji").model == "emoji"


def test_settings_are_frozen() -> None:
    settings = load()
    with pytest.raises(ValidationError):
        settings.model = "other"  # type: ignore[misc]  # what must not work
    with pytest.raises(ValidationError):
        settings.queue.max_depth = 3


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("MINDALLE_QUEUE__LEASE_S", "soon", "a number, such as 20.0"),
        ("MINDALLE_QUEUE__MAX_DEPTH", "0", "at least 1"),
        ("MINDALLE_API__PORT", "99999", "at most 65535"),
        ("MINDALLE_WORKER__DTYPE", "float8", "'auto', 'float32'"),
        ("MINDALLE_AUTH", "no", "'auto', 'required' or 'off'"),
        ("MINDALLE_API__DEFAULT_DEADLINE_S", "901", "later than"),
        ("MINDALLE_API_KEYS", "a:secret-1:heavy", "weight is not a number"),
        ("MINDALLE_API_KEYS", "a:secret-1:1000", "between 0.01 and 100"),
        ("MINDALLE_API_KEYS", "a:secret-1,b:secret-1", "given twice"),
        ("MINDALLE_API_KEYS_FILE", "/nowhere/keys", "can't be read"),
    ],
)
def test_a_wrong_value_stops_the_start_with_name_and_reason(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StartRefused, match=reason) as refusal:
        load()
    assert str(refusal.value).startswith(name)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("name", ["MINDALLE_QUEUE__MAX_DEPHT", "MINDALLE_MODLE"])
def test_a_misspelt_name_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "7")
    with pytest.raises(StartRefused, match=f"{name} is not a setting; did you mean MINDALLE_"):
        load()


@pytest.mark.parametrize(
    ("host", "keys", "auth", "needs_key"),
    [
        ("127.0.0.1", "", "auto", False),
        ("::1", "", "auto", False),
        ("localhost", "", "auto", False),
        ("0.0.0.0", "", "auto", True),
        ("example.com", "", "auto", True),
        ("127.0.0.1", "a-long-key", "auto", True),
        ("0.0.0.0", "a-long-key", "off", False),
        ("127.0.0.1", "a-long-key", "required", True),
    ],
)
def test_keys_are_needed_beyond_this_machine(
    monkeypatch: pytest.MonkeyPatch, host: str, keys: str, auth: str, needs_key: bool
) -> None:
    monkeypatch.setenv("MINDALLE_API__HOST", host)
    monkeypatch.setenv("MINDALLE_API_KEYS", keys)
    monkeypatch.setenv("MINDALLE_AUTH", auth)
    assert load().needs_key is needs_key


def test_an_open_address_without_keys_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    load().require_keys()
    monkeypatch.setenv("MINDALLE_API__HOST", "0.0.0.0")
    with pytest.raises(StartRefused, match="MINDALLE_API_KEYS"):
        load().require_keys()
    monkeypatch.setenv("MINDALLE_AUTH", "off")
    load().require_keys()


@pytest.mark.parametrize(
    ("url", "visible"),
    [
        ("rediss://user:hush@redis.example:6380/2", "rediss://***@redis.example:6380/2"),
        ("redis://redis.example/0?password=hush", "redis://redis.example/0?password=***"),
        (
            "redis+sentinel://a:1,b:2/mymaster?sentinel_password=hush",
            "redis+sentinel://a:1,b:2/mymaster?sentinel_password=***",
        ),
        (
            "redis+sentinel://a:1/m?sentinel_password=h@hush",
            "redis+sentinel://a:1/m?sentinel_password=***",
        ),
        ("redis://redis.example:6379/0", "redis://redis.example:6379/0"),
        ("user:hush@redis.example:6379/0", "user:***@redis.example:6379/0"),
    ],
)
@pytest.mark.parametrize("keys", ["alice:hush-hush", "redis-team:hush-hush", "redis://hush-hush"])
def test_show_hides_secrets(
    monkeypatch: pytest.MonkeyPatch, url: str, visible: str, keys: str
) -> None:
    monkeypatch.setenv("MINDALLE_API_KEYS", keys)
    monkeypatch.setenv("MINDALLE_REDIS__URL", url)
    settings = load()
    shown = show(settings)
    assert shown["MINDALLE_API_KEYS"] == "***"
    assert shown["MINDALLE_REDIS__URL"] == visible
    assert shown["MINDALLE_WORKER__ROWS"] == ""
    assert "hush" not in f"{shown} {settings!r}"


@pytest.mark.parametrize(
    "url", ["redis://h?username=a@b", "redis://h:1/0?password=a@b", "redis+sentinel://a:1,b/my@m/0"]
)
def test_an_at_sign_may_stand_behind_whole_hosts(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDALLE_REDIS__URL", url)
    assert load().redis.url.get_secret_value() == url


@pytest.mark.parametrize("end", "/?#[]")
@pytest.mark.parametrize("password", ["hu{}sh", "h@u{}sh", "1{}hush", "hu{}s=h"])
def test_a_password_that_is_not_encoded_is_refused_and_not_told(
    monkeypatch: pytest.MonkeyPatch, password: str, end: str
) -> None:
    monkeypatch.setenv("MINDALLE_REDIS__URL", f"redis://:{password.format(end)}@redis.example/0")
    with pytest.raises(StartRefused, match=r"^MINDALLE_REDIS__URL: .* percent-encoded") as refused:
        load()
    assert "sh" not in str(refused.value)


def test_every_setting_is_described() -> None:
    rows = dict(describe())
    assert len(rows) > 40
    assert all(text.endswith(".") for text in rows.values()), rows
    assert all(name.startswith("MINDALLE_") and name == name.upper() for name in rows)
    assert list(show(load())) == list(rows)


def test_no_stream_is_silent_for_as_long_as_its_client_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINDALLE_API__HEARTBEAT_S", str(STREAM_SILENCE_S))
    with pytest.raises(StartRefused, match="MINDALLE_API__HEARTBEAT_S: it must be at most 30"):
        load()


def test_one_key_may_always_send_the_largest_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDALLE_QUEUE__KEY_SHARE", "0.001")
    assert load().queue.key_candidates == 96


def test_loopback_is_told_from_the_rest() -> None:
    assert is_loopback("127.8.8.8")
    assert not is_loopback("10.0.0.1")
