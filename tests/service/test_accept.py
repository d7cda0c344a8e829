from __future__ import annotations

import pytest

from service.api.http.accept import JSON, Wanted, takes_gzip, wanted


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "application/json", "text/html", "application/json, image/png;q=0.9", "image/gif",
     "image/png;q=0, */*", "image/png;q=nonsense", ";;,,", "*/*, image/webp"],
)  # fmt: skip
def test_json_unless_a_picture_is_wanted_more(accept: str) -> None:
    assert wanted(accept) == JSON


@pytest.mark.parametrize(
    ("accept", "output_format"),
    [
        ("image/png", "png"),
        ("IMAGE/JPEG", "jpeg"),
        ("image/webp, image/png", "webp"),
        ("image/png;q=0.5, image/webp", "webp"),
        ("application/json;q=0.1, image/png", "png"),
        ("image/avif, image/png;q=0.8", "png"),
        ("image/*", None),
    ],
)
def test_a_picture_in_the_format_that_is_wanted_most(
    accept: str, output_format: str | None
) -> None:
    assert wanted(accept) == Wanted(is_picture=True, output_format=output_format)  # type: ignore[arg-type]  # the parameters are plain strings


def test_what_is_compressed_is_for_who_takes_it() -> None:
    assert all(map(takes_gzip, ("gzip", "br, GZIP;q=0.5", "gzip, deflate, br")))
    assert not any(map(takes_gzip, ("", "identity", "identity, gzip;q=0", "br, x-gzip2")))
