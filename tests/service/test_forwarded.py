from __future__ import annotations

import pytest

from service.api.http.forwarded import Forwarded, forwarded_pairs


def _said(**headers: str) -> Forwarded:
    by_name = {name.replace("_", "-"): value for name, value in headers.items()}
    return Forwarded.of(lambda name: by_name.get(name, ""))


def test_nothing_said_is_nothing() -> None:
    assert _said() == Forwarded()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x_forwarded_proto": "https"}, Forwarded(scheme="https")),
        ({"x_forwarded_proto": "HTTPS, http"}, Forwarded(scheme="https")),
        ({"x_forwarded_host": "pics.example"}, Forwarded(host="pics.example")),
        ({"x_forwarded_host": " pics.example , inner:8000"}, Forwarded(host="pics.example")),
        ({"x_forwarded_host": "pics.example:8443"}, Forwarded(host="pics.example", port=8443)),
        ({"x_forwarded_host": "[2001:db8::1]:81"}, Forwarded(host="[2001:db8::1]", port=81)),
        ({"x_forwarded_port": "8443, 80"}, Forwarded(port=8443)),
        (
            {"x_forwarded_host": "pics.example:8443", "x_forwarded_port": "443"},
            Forwarded(host="pics.example", port=8443),
        ),
        (
            {"x_forwarded_host": "pics.example", "x_forwarded_port": "8443"},
            Forwarded(host="pics.example", port=8443),
        ),
        ({"x_forwarded_prefix": "/img"}, Forwarded(prefix="/img")),
        ({"x_forwarded_prefix": "img/"}, Forwarded(prefix="/img")),
        ({"x_forwarded_prefix": "/"}, Forwarded()),
        ({"x_forwarded_prefix": "/outer/,/inner"}, Forwarded(prefix="/outer/inner")),
        (
            {"forwarded": "for=192.0.2.60;proto=https;host=pics.example"},
            Forwarded(scheme="https", host="pics.example"),
        ),
        (
            {"forwarded": 'For="[2001:db8:cafe::17]:4711";Proto=HTTPS;Host="[2001:db8::1]:8443"'},
            Forwarded(scheme="https", host="[2001:db8::1]", port=8443),
        ),
        (
            {"forwarded": 'for="a, b", for=c;proto=https , for=d;proto=http;host="p.example"'},
            Forwarded(scheme="https", host="p.example"),
        ),
        ({"forwarded": r'host="pics\.example"'}, Forwarded(host="pics.example")),
        (
            {"forwarded": "proto=http;host=old.example", "x_forwarded_proto": "https"},
            Forwarded(scheme="https", host="old.example"),
        ),
    ],
)
def test_the_first_proxy_speaks_of_the_caller(headers: dict[str, str], expected: Forwarded) -> None:
    assert _said(**headers) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {"x_forwarded_proto": "javascript"},
        {"x_forwarded_proto": "https://x"},
        {"x_forwarded_host": 'pics.example"><script>'},
        {"x_forwarded_host": "pics.example/path"},
        {"x_forwarded_host": "me@pics.example"},
        {"x_forwarded_host": "pics.example\r\nx: y"},
        {"x_forwarded_host": "pics.example:0"},
        {"x_forwarded_host": "pics.example:70000"},
        {"x_forwarded_host": "a" * 300},
        {"x_forwarded_port": "-1"},
        {"x_forwarded_port": "８０"},
        {"x_forwarded_port": "99999"},
        {"x_forwarded_prefix": "/a?x=1"},
        {"x_forwarded_prefix": "/a/../b"},
        {"x_forwarded_prefix": "/a//b"},
        {"x_forwarded_prefix": "/good,/b<script>"},
        {"x_forwarded_prefix": "/v1"},
        {"x_forwarded_prefix": "/" + "a" * 300},
        {"forwarded": 'proto=https;host="unclosed'},
        {"forwarded": "proto=https proto=http"},
        {"forwarded": "proto=ftp;host=<x>"},
    ],
)
def test_what_is_malformed_is_as_good_as_not_said(headers: dict[str, str]) -> None:
    assert _said(**headers) == Forwarded()


def test_a_prefix_never_names_another_host() -> None:
    assert _said(x_forwarded_prefix="//evil.example").prefix == "/evil.example"


def test_empty_elements_of_a_list_are_passed_over() -> None:
    assert forwarded_pairs(", ,for=a;;proto=http,") == {"for": "a", "proto": "http"}
    assert forwarded_pairs("host=") == {"host": ""}
