from __future__ import annotations

import pytest
from pydantic import ValidationError

from service.config.results import ResultsSettings, ResultsUrl


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("redis:", ResultsUrl("redis")),
        ("redis", ResultsUrl("redis")),
        ("file:///var/lib/my%20pictures/", ResultsUrl("file", "", "/var/lib/my pictures/")),
        ("s3://bucket", ResultsUrl("s3", "bucket")),
        ("s3://my.bucket/some/where/", ResultsUrl("s3", "my.bucket", "some/where")),
        ("gs://bucket/prefix", ResultsUrl("gs", "bucket", "prefix")),
        ("az://container/prefix", ResultsUrl("az", "container", "prefix")),
    ],
)
def test_places(text: str, wanted: ResultsUrl) -> None:
    assert ResultsSettings(url=text).place == wanted


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no store"),
        ("bucket/prefix", "no store"),
        ("redis://:secret@127.0.0.1:6379", "no store"),
        ("http://minio:9000/bucket", "no store"),
        ("s3:///prefix", "no bucket"),
        ("s3://key:secret@bucket/prefix", "neither a user nor a query"),
        ("s3://bucket?region=eu", "neither a user nor a query"),
        ("file://results", "three slashes"),
        ("file:results", "whole path"),
        ("file:///", "whole path"),
    ],
)
def test_what_is_no_place_is_told(text: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason) as caught:
        ResultsSettings(url=text)
    assert "secret" not in str(caught.value.errors(include_input=False)[0]["msg"])


@pytest.mark.parametrize("text", ["minio:9000", "ftp://minio", "http://", "http://minio:9000/?a=b"])
def test_an_endpoint_is_an_address(text: str) -> None:
    assert ResultsSettings(endpoint="http://minio:9000").endpoint == "http://minio:9000"
    with pytest.raises(ValidationError, match="such as http://minio:9000"):
        ResultsSettings(endpoint=text)
