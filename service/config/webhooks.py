"""Settings of webhooks: who signs them, where they may go, how they are sent.

Knows neither where values come from nor how a message is made.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from service.config.paths import UserPath
from service.hooks.addresses import Allowed
from service.hooks.signing import Secrets
from service.hooks.target import Rules, read_ports


class WebhookSettings(BaseModel):
    """Webhooks: messages to callers' own servers about their jobs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    secrets: SecretStr = Field(
        SecretStr(""),
        description="Comma-separated `whsec_…`, and `name=whsec_…` for the jobs of that API key. "
        "Each signs every message, so that a new one can be added before an old one goes. Without "
        "any, no job can have a webhook.",
    )
    deliver: bool = Field(
        True, description="Whether this API process sends messages; some process must."
    )
    allow_http: bool = Field(False, description="Take addresses with http://, too.")
    allowed: str = Field(
        "",
        description="Comma-separated networks, addresses and hosts' names that may be reached "
        "although they lie inside: 10.1.0.0/16,hooks.internal. Nothing inside may be otherwise.",
    )
    ports: str = Field(
        "80,443,8080,8443", description="Comma-separated ports that an address may have."
    )
    ca_file: UserPath | None = Field(
        None, description="CA certificate for receivers, beside the system's."
    )
    timeout_s: float = Field(
        10.0, ge=0.1, le=60, description="Limit for one attempt, from the name to the answer."
    )
    retry_s: float = Field(
        5.0,
        ge=0.01,
        le=3600,
        description="Wait before a message is sent a second time; then twice as long each time, to "
        "an hour, until a day is over.",
    )
    at_once: int = Field(32, ge=1, le=512, description="Messages that a process sends at once.")

    @property
    def rules(self) -> Rules:
        """Where messages may go."""
        return Rules(Allowed.read(self.allowed), read_ports(self.ports), self.allow_http)

    @field_validator("secrets")
    @classmethod
    def _can_sign(cls, text: SecretStr) -> SecretStr:
        Secrets.read(text.get_secret_value())
        return text

    @field_validator("allowed")
    @classmethod
    def _are_places(cls, text: str) -> str:
        Allowed.read(text)
        return text

    @field_validator("ports")
    @classmethod
    def _are_ports(cls, text: str) -> str:
        read_ports(text)
        return text
