"""Sends the messages of webhooks while this API process runs: a bounded number at once, each under
a lease, again after a growing pause until a day is over.

Every API process may do so beside the others. It is the API's work and not a worker's: an API is
always there, it is what may speak to the world, and a GPU's process is kept away from that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from datetime import UTC, datetime

import service
from service.answers.webhook_message import WebhookMessage
from service.api.webhook_desk import WebhookDesk
from service.broker.fault_log import FaultLog
from service.broker.outbox import Message, Outbox
from service.broker.redis_connection import backoff_s
from service.broker.stopping import stop
from service.config.webhooks import WebhookSettings
from service.errors import QueueUnavailable
from service.hooks.sender import Sender, SendError
from service.hooks.signing import signed_headers
from service.metrics import WebhookMetrics

_USER_AGENT = f"mindalle-serve/{service.__version__}"
_POLL_S = 0.5
_HOST_SHARE = 4  # one host has at most this part of what is sent at once
_LONGEST_WAIT_S = 3600.0
_CLOSE_S = 3.0  # for what is being sent when the process ends; the rest is sent by others

_log = logging.getLogger(__name__)


def wait_s(attempt: int, first_s: float) -> float:
    """Seconds from a failed attempt to the next one: doubling, to an hour, with jitter."""
    return backoff_s(attempt, cap_s=_LONGEST_WAIT_S, first_s=first_s)


class Deliveries:
    """Call `start` before and `close` after use."""

    def __init__(
        self,
        outbox: Outbox,
        desk: WebhookDesk,
        sender: Sender,
        metrics: WebhookMetrics,
        faults: FaultLog,
        settings: WebhookSettings,
    ) -> None:
        self._outbox = outbox
        self._desk = desk
        self._sender = sender
        self._metrics = metrics
        self._faults = faults
        self._at_once = settings.at_once
        self._retry_s = settings.retry_s
        self._running: dict[asyncio.Task[None], str] = {}
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Send in the background."""
        self._loop = asyncio.create_task(self._run(), name="webhooks")

    async def close(self) -> None:
        """Take no more, and give what is being sent a moment to end."""
        if self._loop is not None:
            await stop(self._loop)
        if self._running:
            await asyncio.wait(self._running, timeout=_CLOSE_S)
        await stop(*self._running)
        await self._sender.close()

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                is_busy = await self._take()
                failures = 0
            except QueueUnavailable as error:
                self._faults.note(error)
                is_busy, failures = False, failures + 1
            except Exception:  # what another release wrote must not end all deliveries
                _log.exception("messages of webhooks can't be taken")
                is_busy, failures = False, failures + 1
            if failures:
                await asyncio.sleep(backoff_s(failures))
            elif not is_busy or len(self._running) >= self._at_once:
                await self._until_room()

    async def _until_room(self) -> None:
        """Until something that is being sent has ended, but not for longer than it takes to look
        for what is due.
        """
        if self._running:
            await asyncio.wait(self._running, timeout=_POLL_S, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(_POLL_S)

    async def _take(self) -> bool:
        """Begin to send what is due; whether there was anything."""
        room = self._at_once - len(self._running)
        messages = await self._outbox.claim(
            room,
            per_host=max(1, self._at_once // _HOST_SHARE),
            running=Counter(self._running.values()),
        )
        for message in messages:
            task = asyncio.create_task(self._deliver(message))
            self._running[task] = message.host
            task.add_done_callback(self._running.pop)
        return bool(messages)

    async def _deliver(self, message: Message) -> None:
        """Send one, and say how that ended; without Redis its lease runs out, and it goes again."""
        began = time.monotonic()
        try:
            await self._send(message)
        except SendError as error:
            failure: SendError | None = error
        except Exception as error:  # one message that can't be made must not end the others
            _log.exception("a webhook's message can't be sent", extra={"message_id": message.id})
            failure = SendError("internal", f"{type(error).__name__}: {error}")
        else:
            failure = None
        try:
            await self._settle(message, failure, time.monotonic() - began)
        except QueueUnavailable as error:
            self._faults.note(error)

    async def _send(self, message: Message) -> None:
        view = message.view()
        webhook = view.job.webhook
        secrets = self._desk.secrets_of(view.job.key_id)
        if webhook is None or not secrets:
            raise SendError("internal", "there is no secret to sign with any more")
        body = WebhookMessage.of(message.event, message.at_ms, view, webhook.base)
        text = body.model_dump_json()
        headers = {"content-type": "application/json", "user-agent": _USER_AGENT}
        headers |= signed_headers(secrets, message.id, datetime.now(UTC), text)
        await self._sender.send(webhook.url, headers, text.encode())

    async def _settle(self, message: Message, failure: SendError | None, seconds: float) -> None:
        about = {
            "job_id": message.job_id,
            "message_id": message.id,
            "host": message.host,
            "attempt": message.attempt,
            "seconds": round(seconds, 3),
        }
        if failure is None:
            await self._outbox.delivered(message)
            self._metrics.delivered.inc()
            _log.info("webhook delivered", extra=about)
            return
        wait = max(wait_s(message.attempt, self._retry_s), failure.retry_after_s)
        end = await self._outbox.failed(
            message, failure.detail, wait_s=wait, is_final=failure.is_gone
        )
        about |= {"reason": failure.reason, "cause": failure.detail}
        self._metrics.failed.labels(failure.reason).inc()
        if end == "dead":
            self._metrics.dead_lettered.inc()
            _log.error("webhook given up: see mindalle dlq list", extra=about)
        elif end == "waits":
            self._metrics.retried.inc()
            _log.warning("webhook not delivered", extra=about | {"again_in_s": round(wait)})
