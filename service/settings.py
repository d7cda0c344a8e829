"""Every setting of every process, read from the environment: the only reader of os.environ.

Names are `MINDALLE_` plus the field, with `__` between a group and its field. Knows nothing of what
the values do; the fields' descriptions make the table in the docs.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.config.api_keys import ApiKey, read_keys
from service.config.groups import (
    ApiSettings,
    PullSettings,
    QueueSettings,
    RedisSettings,
    TestingSettings,
    WorkerSettings,
)
from service.config.hosted import read_hosted
from service.config.paths import UserPath
from service.config.problems import in_words
from service.config.results import ResultsSettings
from service.config.webhooks import WebhookSettings
from service.errors import StartRefused

_PREFIX = "MINDALLE_"


class Settings(BaseSettings):
    """All settings. Frozen; read once by each entry point and handed down as plain arguments."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,  # compose files and charts pass on what may be unset as empty
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    model: str = Field("emoji", description="Preset that workers load and requests default to.")
    api_keys: SecretStr = Field(
        SecretStr(""),
        description="Comma-separated `name:key`, `name:key:weight` or bare keys. "
        "A key has at least 8 visible ASCII characters. "
        "Its weight is its part of the machine when several keys wait.",
    )
    api_keys_file: UserPath | None = Field(
        None,
        description="File with one such key per line, in UTF-8 or with a byte order mark; `#` at "
        "the start of a line or after white space begins a comment.",
    )
    auth: Literal["auto", "required", "off"] = Field(
        "auto", description="auto: API keys are needed unless the address is loopback. off: never."
    )
    prompt_in_png: bool = Field(True, description="Write the prompt into the image file.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Prompts are logged at debug only."
    )
    log_format: Literal["json", "text"] = Field("json", description="How log lines look.")
    data_dir: UserPath = Field(
        Path("~/.local/share/mindalle"),
        validate_default=False,  # only who needs the folder looks for the home
        description="Where `mindalle serve` keeps its Valkey's data.",
    )
    redis: RedisSettings = Field(default_factory=RedisSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    queue: QueueSettings = Field(default_factory=QueueSettings)
    results: ResultsSettings = Field(default_factory=ResultsSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    pull: PullSettings = Field(default_factory=PullSettings)
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings)
    testing: TestingSettings = Field(default_factory=TestingSettings)
    _keys: tuple[ApiKey, ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.api.default_deadline_s > self.api.max_deadline_s:
            raise ValueError(
                "MINDALLE_API__DEFAULT_DEADLINE_S is later than MINDALLE_API__MAX_DEADLINE_S"
            )
        if self.worker.models and self.worker.checkpoint:
            raise ValueError(
                "MINDALLE_WORKER__CHECKPOINT is of one model: with MINDALLE_WORKER__MODELS, write "
                "preset=folder there"
            )
        # Once: a second look may find another file, or a pipe that is empty by then.
        listed = self.api_keys.get_secret_value()
        self._keys = self._keys or read_keys(listed, self.api_keys_file)
        return self

    def keys(self) -> tuple[ApiKey, ...]:
        """The API keys of the list and of the file, as they were at the start."""
        return self._keys

    @property
    def hosted(self) -> dict[str, WorkerSettings]:
        """The worker's models, each with the settings that it is loaded by, in their order."""
        folders = read_hosted(self.worker.models)
        if not folders:
            return {self.model: self.worker}
        return {
            name: self.worker.model_copy(update={"checkpoint": folder})
            for name, folder in folders.items()
        }

    @property
    def first_hosted(self) -> str:
        """The worker's model that others come after: the default one, if it is among them."""
        names = list(self.hosted)
        return self.model if self.model in names else names[0]

    @property
    def needs_key(self) -> bool:
        """True when a request without a known API key must be refused."""
        if self.auth == "auto":
            return bool(self.keys()) or not is_loopback(self.api.host)
        return self.auth == "required"

    def require_keys(self) -> None:
        """For the API process: StartRefused when keys are needed and there is none."""
        if self.needs_key and not self.keys():
            raise StartRefused(
                "MINDALLE_API_KEYS: at least one key is needed to listen on "
                f"{self.api.host}; MINDALLE_AUTH=off lets everyone in"
            )


def is_loopback(host: str) -> bool:
    """True for an address that only this machine can reach."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load(**overrides: object) -> Settings:
    """Settings of this process; `overrides` (command-line flags) win over the environment.

    Raises StartRefused, with the variable's name and the reason, for a wrong value or a name that
    no setting has.
    """
    known = {name for name, _ in describe()}
    for name in os.environ:
        if name.startswith(_PREFIX) and name.upper() not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise StartRefused(f"{name} is not a setting{hint}")
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks each value
    except ValidationError as error:
        raise StartRefused(_first_problem(error)) from None


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_input=False, include_url=False)[0]
    reason = in_words(problem, _default(problem["loc"]))
    path = "__".join(str(part) for part in problem["loc"]).upper()
    return f"{_PREFIX}{path}: {reason}" if path else reason  # checks across fields name their own


def _default(path: Sequence[str | int]) -> object:
    """Of the setting at this place; None where there is none."""
    value: object = Settings.model_construct()
    for part in path:
        value = getattr(value, str(part), None)
    return value


def has_trace_exporter() -> bool:
    """True when the standard OpenTelemetry variables name a place to send traces to."""
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    is_none = os.environ.get("OTEL_TRACES_EXPORTER", "otlp") == "none"
    places = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return not is_off and not is_none and any(os.environ.get(place) for place in places)


def environment_with(changes: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child process: ours, and the changes."""
    return {**os.environ, **changes}


def describe() -> Iterator[tuple[str, str]]:
    """Every environment variable with its description, in the order of the classes."""
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            for inner, inner_field in group.model_fields.items():
                yield f"{_PREFIX}{name}__{inner}".upper(), inner_field.description or ""
        else:
            yield f"{_PREFIX}{name}".upper(), field.description or ""


def show(settings: Settings) -> dict[str, str]:
    """Variable name to value as text, with secrets hidden; for `mindalle config show`."""
    shown = {}
    for name, _ in describe():
        value: object = settings
        for part in name.removeprefix(_PREFIX).lower().split("__"):
            value = getattr(value, part)
        if isinstance(value, SecretStr):
            secret = value.get_secret_value()
            shown[name] = _hidden_url(secret) if name.endswith("__URL") else "***" if secret else ""
        else:
            shown[name] = _text(value)
    return shown


def _text(value: object) -> str:
    if isinstance(value, Path):
        return os.path.expanduser(value)
    return "" if value is None else str(value)


def _hidden_url(url: str) -> str:
    """A URL without its password and the values of its query, which may hold others."""
    parts = urlsplit(url)
    _, at, host = parts.netloc.rpartition("@")
    netloc = f"***@{host}" if at else host
    path = f"***@{parts.path.rpartition('@')[2]}" if "@" in parts.path else parts.path
    query = "&".join(f"{name}=***" for name, _ in parse_qsl(parts.query, keep_blank_values=True))
    return urlunsplit(parts._replace(netloc=netloc, path=path, query=query))
