"""Whether a job may have the webhook that its request names, and which secrets sign its messages.

Asks for no name's addresses: an answer would tell callers what lies inside. That is done when a
message is sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Self

from service.answers.job_request import WebhookRequest
from service.config.api_keys import ApiKey
from service.config.webhooks import WebhookSettings
from service.errors import InvalidRequest, StartRefused
from service.hooks.signing import Secrets
from service.hooks.target import Rules, Target, TargetRefusedError
from service.hooks.webhook import HOOK_EVENTS, Webhook
from service.jobs import Job

# A message is a copy of its job, and 10,000 of a caller's may wait for a day.
_MAX_JOB_BYTES = 16_384


class WebhookDesk:
    """`names` are those of the API keys, by their ids."""

    def __init__(self, rules: Rules, secrets: Secrets, names: dict[str, str]) -> None:
        self._rules = rules
        self._secrets = secrets
        self._names = names

    @classmethod
    def of(cls, settings: WebhookSettings, keys: Iterable[ApiKey]) -> Self:
        """For these settings; StartRefused when a secret is for an API key that there is not."""
        secrets = Secrets.read(settings.secrets.get_secret_value())
        names = {key.key_id: key.name for key in keys}
        unknown = secrets.names() - set(names.values())
        if unknown:
            raise StartRefused(
                f"MINDALLE_WEBHOOKS__SECRETS: there is no API key named {min(unknown)!r}"
            )
        return cls(settings.rules, secrets, names)

    def secrets_of(self, key_id: str) -> tuple[str, ...]:
        """What signs messages about the jobs of this API key."""
        return self._secrets.of(self._names.get(key_id))

    def told(self, job: Job, body: WebhookRequest, base: str) -> Job:
        """The job with the webhook that its request names.

        Raises:
            InvalidRequest: as `accept`; or each of the job's messages would be too large.
        """
        told = replace(job, webhook=self.accept(body, job.key_id, base))
        num_bytes = len(told.to_json())
        if num_bytes > _MAX_JOB_BYTES:
            raise InvalidRequest(
                f"With a webhook a job can have {_MAX_JOB_BYTES} bytes of JSON in ASCII, and this "
                f"one has {num_bytes}: send a shorter prompt.",
                param="prompt",
            )
        return told

    def accept(self, body: WebhookRequest, key_id: str, base: str) -> Webhook:
        """The webhook as the job keeps it.

        Raises:
            InvalidRequest: webhooks are off, or this address is not open to them.
        """
        if not self.secrets_of(key_id):
            raise InvalidRequest(
                "This server sends no webhooks: MINDALLE_WEBHOOKS__SECRETS holds no secret to sign "
                "them with.",
                param="webhook",
            )
        try:
            target = Target.of(body.url, self._rules)
        except TargetRefusedError as error:
            raise InvalidRequest(f"webhook.url: {error}.", param="webhook.url") from None
        events = tuple(event for event in HOOK_EVENTS if event in body.events)
        return Webhook(body.url, target.host, events, base)
