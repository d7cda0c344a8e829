from __future__ import annotations

import pytest

from service.config.base_url import BaseUrl, read_base_url
from service.errors import StartRefused
from service.settings import load


@pytest.mark.parametrize(
    ("text", "origin", "prefix"),
    [
        ("https://pics.example", "https://pics.example", ""),
        ("https://pics.example/", "https://pics.example", ""),
        ("https://pics.example:443/img", "https://pics.example", "/img"),
        ("http://pics.example:8080/a/b//", "http://pics.example:8080", "/a/b"),
        ("https://[2001:db8::1]:8443/img/", "https://[2001:db8::1]:8443", "/img"),
        ("http://10.0.0.7:80", "http://10.0.0.7", ""),
    ],
)
def test_an_address_has_one_form(text: str, origin: str, prefix: str) -> None:
    assert read_base_url(text) == BaseUrl(origin, prefix)
    assert str(read_base_url(text)) == origin + prefix


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("pics.example/img", "is not http:// or https:// and a host"),
        ("ftp://pics.example", "is not http:// or https:// and a host"),
        ("javascript:alert(1)", "is not http:// or https:// and a host"),
        ("https://", "is not http:// or https:// and a host"),
        ("https://me:secret@pics.example", "is not http:// or https:// and a host"),
        ("https://pics.example:0", "is not http:// or https:// and a host"),
        ("https://pics.example:99999", "is not http:// or https:// and a host"),
        ("https://bücher.example", "is not http:// or https:// and a host"),
        ("https://[::1", "is no address"),
        ("https://pics.example/?a=1", "more than scheme, host and path"),
        ("https://pics.example/#top", "more than scheme, host and path"),
        ("https://pics.example/v1", "write https://pics.example, without the /v1"),
        ("https://pics.example/img/v1/", "write https://pics.example/img, without the /v1"),
        ("https://pics.example/a b", "is not made of letters"),
        ("https://pics.example/../x", "is not made of letters"),
        ('https://pics.example/"x', "is not made of letters"),
    ],
)
def test_what_is_none_is_refused_in_words(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="https") as caught:
        read_base_url(text)
    assert reason in str(caught.value)


def test_the_start_is_refused_by_the_settings_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDALLE_API__PUBLIC_URL", "pics.example/img")
    with pytest.raises(
        StartRefused, match=r"^MINDALLE_API__PUBLIC_URL: 'pics\.example/img' is not"
    ):
        load()
