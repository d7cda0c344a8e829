"""Every error that a caller may see: HTTP status, type, code, public message.

Knows no web framework: the app turns these into the JSON envelope, the worker into log lines.
Nothing here carries a path, a stack trace or a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class DomainError(Exception):
    """Base of all below, and any fault of ours by itself. `message` is public.

    `retry_after_s` becomes the Retry-After header, `should_retry` the `x-should-retry` one: False
    where the same call can't succeed.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str = "internal_error"
    should_retry: ClassVar[bool | None] = None
    message: str = "The server made a mistake. Its log has this answer's x-request-id."
    param: str | None = None
    retry_after_s: float | None = None

    def __init__(
        self,
        message: str | None = None,
        code: str | None = None,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """What is not given is the class's own."""
        self.message = message or self.message
        self.code = code or self.code
        self.param = param or self.param
        self.retry_after_s = retry_after_s or self.retry_after_s
        super().__init__(self.message)


class _BadCall(DomainError):
    type = "invalid_request_error"
    should_retry = False


class InvalidRequest(_BadCall):
    """A field is missing, unknown or out of range; `param` names it."""

    status = 400
    code = "invalid_value"
    message = "The request is not valid."


class OriginNotAllowed(InvalidRequest):
    """A browser asks on behalf of a page whose origin is not listed."""

    code = "origin_not_allowed"

    def __init__(self) -> None:
        super().__init__(
            "Pages of this origin may not call this server; "
            "MINDALLE_API__CORS_ORIGINS lists those that may."
        )


class Unauthenticated(DomainError):
    """No API key, or one that is not known."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"
    should_retry = False
    message = "A valid API key is required: Authorization: Bearer KEY."


class NotFound(_BadCall):
    """Nothing is at this address."""

    status = 404
    code = "not_found"
    message = "There is nothing at this address."


class JobNotFound(NotFound):
    """No such job, or another key made it, or it is older than its time to live."""

    code = "job_not_found"
    message = "There is no such job."


class ImageNotFound(NotFound):
    """The job has no image of this rank, or has none yet, or the image has expired."""

    code = "image_not_found"
    message = "There is no such image."


class ModelNotFound(NotFound):
    """No preset of this name."""

    code = "model_not_found"
    param = "model"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"There is no model {model!r} here; /v1/models lists those there are, and "
            "MINDALLE_API__MODEL_ALIASES gives them other names."
        )


class MethodNotAllowed(_BadCall):
    """The path exists, the verb does not; `allowed` are those that do."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"This address takes {', '.join(allowed)}.")
        self.allowed = allowed


class BodyTooSlow(DomainError):
    """The body did not arrive in time."""

    status = 408
    type = "invalid_request_error"
    code = "body_timeout"
    message = "The body did not arrive in time."


class BodyTooLarge(_BadCall):
    """The body is over the limit."""

    status = 413
    code = "body_too_large"

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"The body may have at most {max_bytes} bytes.")


class UnsupportedMediaType(_BadCall):
    """The body is not JSON."""

    status = 415
    code = "unsupported_media_type"
    message = "Send the body as application/json."


class IdempotencyMismatch(DomainError):
    """The idempotency key was used before with another body."""

    status = 422
    type = "idempotency_error"
    code = "idempotency_key_reused"
    should_retry = False
    message = "This Idempotency-Key was used with another body."


class _TooMuch(DomainError):
    status = 429
    type = "rate_limit_error"
    should_retry = True

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(retry_after_s=retry_after_s)


class QueueFull(_TooMuch):
    """As many jobs or candidates as the queue may hold are waiting or running."""

    code = "queue_full"
    message = "The queue is full."


class RateLimited(_TooMuch):
    """This key sends faster than its rate."""

    code = "rate_limit_exceeded"
    message = "The rate of this API key, or of all who come without one, is used up."


class KeyShareExceeded(_TooMuch):
    """This key already holds its share of the candidates that may be in flight."""

    code = "key_share_exceeded"
    message = "The share of this API key, or of all who come without one, is in flight already."


class WebhooksFull(_TooMuch):
    """As many messages of this key's webhooks wait as may: their receivers take too few."""

    code = "webhooks_full"
    message = "Too many messages wait for the webhooks of this API key."
    param = "webhook"


class UploadsFull(_TooMuch):
    """This process keeps as many callers' pictures, or has as many to read, as it may."""

    code = "uploads_full"
    message = "The server has as many pictures to read as it takes at once."


class JobFailed(DomainError):
    """The job ended without a picture; the code is the worker's."""

    code = "job_failed"
    message = "The job failed."


class JobCancelled(_BadCall):
    """Someone cancelled the job while a caller waited for it."""

    status = 409
    code = "job_cancelled"
    message = "The job was cancelled."


class Unavailable(DomainError):
    """This server can't take work now."""

    status = 503
    code = "unavailable"
    should_retry = True
    message = "The server can't take work now."


class QueueUnavailable(Unavailable):
    """Redis does not answer, or refuses; redis_faults.py has a code for each reason."""

    code = "queue_unavailable"
    message = "The queue is not reachable."
    retry_after_s = 2.0


class ResultsUnavailable(Unavailable):
    """The store that keeps finished pictures does not answer, or refuses."""

    code = "results_unavailable"
    message = "The store of finished pictures is not reachable."
    retry_after_s = 2.0


class JobLost(Unavailable):
    """Redis has lost a job that a caller waits for: a failover came before its replica had it."""

    code = "job_lost"
    message = "The queue has lost this job; send it again."
    retry_after_s = 1.0


class NoWorker(Unavailable):
    """No live worker serves the model."""

    code = "no_worker"
    param = "model"
    retry_after_s = 5.0

    def __init__(self, model: str) -> None:
        super().__init__(f"No worker serves {model!r} now.")


class NoPictures(Unavailable):
    """Some worker of the model is of a release that can't begin with a caller's picture."""

    code = "no_worker_for_pictures"
    param = "model"
    retry_after_s = 5.0

    def __init__(self, model: str) -> None:
        super().__init__(f"Not every worker that serves {model!r} now takes pictures.")


class Draining(Unavailable):
    """This API process is shutting down."""

    code = "draining"
    message = "The server is shutting down."
    retry_after_s = 1.0


class DeadlinePassed(DomainError):
    """The job's deadline passed before its pictures were ready.

    Not to be tried again unasked: repeated calls would make a busy queue longer still.
    """

    status = 504
    type = "timeout_error"
    code = "deadline_passed"
    should_retry = False
    message = "The deadline passed before the picture was ready."


class StartRefused(Exception):
    """A process must not start like this; the message is one line for the operator."""
