"""Where finished pictures are kept, as an operator writes it: the settings, and the store's address
read. Opens no store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, cast, get_args
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from service.config.base_url import split_host

Scheme = Literal["redis", "file", "s3", "gs", "az"]

_EXAMPLE = "such as redis:, file:///var/lib/mindalle or s3://bucket/prefix"


@dataclass(frozen=True, slots=True)
class ResultsUrl:
    """A kind of store and a place in it: `bucket` is empty for Redis and files.

    `prefix` stands before every name: of files a folder's whole path, of buckets possibly empty.
    """

    scheme: Scheme
    bucket: str = ""
    prefix: str = ""

    @classmethod
    def of(cls, text: str) -> Self:
        """Read the address.

        Raises:
            ValueError: there is no such store; says what is wanted.
        """
        if text.rstrip(":") == "redis":
            return cls("redis")
        parts = urlsplit(text)
        if parts.scheme not in get_args(Scheme) or parts.scheme == "redis":
            shown = f"{parts.scheme}:" if parts.scheme else text  # what follows may be a secret
            raise ValueError(f"{shown!r} is no store of results, {_EXAMPLE}")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(
                "the address of a store has neither a user nor a query: its credentials come from "
                "the provider's own variables"
            )
        if parts.scheme == "file":
            return cls("file", prefix=_folder(parts.netloc, parts.path))
        if not parts.netloc:
            raise ValueError(f"{text!r} names no bucket, {_EXAMPLE}")
        scheme = cast(Scheme, parts.scheme)
        return cls(scheme, parts.netloc, parts.path.strip("/"))


def _folder(host: str, path: str) -> str:
    if host or not path.startswith("/") or not path.strip("/"):
        raise ValueError("files need a whole path and three slashes: file:///var/lib/mindalle")
    return unquote(path)


def check_endpoint(text: str) -> None:
    """Raise ValueError for what is no address of an S3-compatible store."""
    parts = urlsplit(text)
    is_address = parts.scheme in ("http", "https") and split_host(parts.netloc)
    if not is_address or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is no address, such as http://minio:9000")


class ResultsSettings(BaseModel):
    """Where finished pictures are kept; the API and the workers must agree on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        "redis:",
        description="redis:, file:///folder (one that all processes share), s3://bucket/prefix, "
        "gs://bucket/prefix or az://container/prefix; each Redis needs a prefix of its own. "
        "Credentials come from AWS_…, GOOGLE_… or AZURE_… variables, or from the machine's role.",
    )
    endpoint: str | None = Field(
        None,
        description="Address of another store that speaks S3, such as http://minio:9000; "
        "Amazon's own when empty.",
    )
    timeout_s: float = Field(
        10.0, gt=0, le=300, description="Limit for one file, further tries after a 503 included."
    )
    presign_s: float = Field(
        3600.0,
        ge=0,
        le=604_800,
        description="How long the signed address of an image in a bucket works, never beyond the "
        "image's time to live; 0: images are answered by this server, under its own address.",
    )

    @property
    def place(self) -> ResultsUrl:
        """The address, read."""
        return ResultsUrl.of(self.url)

    @field_validator("url")
    @classmethod
    def _is_store(cls, text: str) -> str:
        ResultsUrl.of(text)
        return text

    @field_validator("endpoint")
    @classmethod
    def _is_address(cls, text: str | None) -> str | None:
        if text:
            check_endpoint(text)
        return text
