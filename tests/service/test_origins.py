from __future__ import annotations

import pytest

from service.config.origins import read_origins
from service.errors import StartRefused
from service.settings import load


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "null",
        "http://localhost:3000",
        "https://app.example",
        "http://a_b.example",
        "https://xn--bcher-kva.example:8443",
        "http://127.0.0.1:5173",
        "http://[::1]:3000",
        "chrome-extension://mhjfbmdgcfjbbpaeojofohoefgiehjai",
        "capacitor://localhost",
        "tauri://localhost",
    ],
)
def test_what_browsers_send_is_taken(text: str) -> None:
    assert read_origins(text) == {text}


def test_a_list_may_have_spaces_and_a_comma_at_its_end() -> None:
    assert read_origins(" https://a.example , http://b.example,") == {
        "https://a.example",
        "http://b.example",
    }
    assert read_origins("") == frozenset()


@pytest.mark.parametrize(
    ("text", "better"),
    [
        ("https://a.example/", "https://a.example"),
        ("https://a.example/app", "https://a.example"),
        ("https://a.example?x=1", "https://a.example"),
        ("HTTPS://A.example", "https://a.example"),
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("http://localhost:03000", "http://localhost:3000"),
        ("localhost:3000", "http://localhost:3000"),
        ("a.example", "http://a.example"),
        ("https://me:secret@a.example", "https://a.example"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("http://[0:0:0:0:0:0:0:1]:3000", "http://[::1]:3000"),
        ("NULL", "null"),
        ("file:///home/me/page.html", "null"),
    ],
)
def test_what_no_browser_sends_is_refused_with_what_it_sends(text: str, better: str) -> None:
    with pytest.raises(ValueError, match="no browser sends") as caught:
        read_origins(f"http://good.example,{text}")
    assert str(caught.value).endswith(f"write {better}")


@pytest.mark.parametrize(
    "text",
    [
        "https://*.example",
        "http://a.example http://b.example",
        '["http://a.example"]',
        "http://127.1",
        "http://192.168.001.1",
        "http://a.example:99999",
        "http://a.example:0",
        "http://[::1",
        "://",
        "https://",
    ],
)
def test_what_can_never_match_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"scheme://host:port, such as https://app\.example"):
        read_origins(text)


def test_the_start_is_refused_by_the_settings_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDALLE_API__CORS_ORIGINS", "http://localhost:3000/")
    with pytest.raises(StartRefused) as caught:
        load()
    assert str(caught.value) == (
        "MINDALLE_API__CORS_ORIGINS: no browser sends the origin 'http://localhost:3000/': "
        "write http://localhost:3000"
    )
