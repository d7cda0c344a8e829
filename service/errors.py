"""Every error that a caller may see: HTTP status, type, code, public message.

Knows no web framework: the app turns these into the JSON envelope, the worker into log lines.
Nothing here carries a path, a stack trace or a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class DomainError(Exception):
    """Base of all below. `message` is public; `retry_after_s` becomes the Retry-After header.

    `should_retry` is for the `x-should-retry` header: False where the same call can't succeed.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str = "internal_error"
    should_retry: ClassVar[bool | None] = None

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class InvalidRequest(DomainError):
    """A field is missing, unknown or out of range; `param` names it."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"
    should_retry = False


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

    def __init__(self, message: str = "A valid API key is required.") -> None:
        super().__init__(message)


class NotFound(DomainError):
    """Nothing is at this address."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"
    should_retry = False


class JobNotFound(NotFound):
    """No such job, or another key made it, or it is older than its time to live."""

    code = "job_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such job.")


class ImageNotFound(NotFound):
    """The job has no image of this rank, or has none yet, or the image has expired."""

    code = "image_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such image.")


class ModelNotFound(NotFound):
    """No preset of this name."""

    code = "model_not_found"

    def __init__(self, model: str) -> None:
        super().__init__(f"There is no model {model!r} here.", param="model")


class MethodNotAllowed(DomainError):
    """The path exists, the verb does not; `allowed` are those that do."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"
    should_retry = False

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"This address takes {', '.join(allowed)}.")
        self.allowed = allowed


class BodyTooSlow(DomainError):
    """The body did not arrive in time."""

    status = 408
    type = "invalid_request_error"
    code = "body_timeout"

    def __init__(self) -> None:
        super().__init__("The body did not arrive in time.")


class BodyTooLarge(DomainError):
    """The body is over the limit."""

    status = 413
    type = "invalid_request_error"
    code = "body_too_large"
    should_retry = False

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"The body may have at most {max_bytes} bytes.")


class UnsupportedMediaType(DomainError):
    """The body is not JSON."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"
    should_retry = False

    def __init__(self) -> None:
        super().__init__("Send the body as application/json.")


class IdempotencyMismatch(DomainError):
    """The idempotency key was used before with another body."""

    status = 422
    type = "idempotency_error"
    code = "idempotency_key_reused"
    should_retry = False

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used with another body.")


class QueueFull(DomainError):
    """As many jobs or candidates as the queue may hold are waiting or running."""

    status = 429
    type = "rate_limit_error"
    code = "queue_full"
    should_retry = True

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("The queue is full.", retry_after_s=retry_after_s)


class RateLimited(DomainError):
    """This key sends faster than its rate."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    should_retry = True

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("This API key is over its rate.", retry_after_s=retry_after_s)


class KeyShareExceeded(DomainError):
    """This key already holds its share of the candidates that may be in flight."""

    status = 429
    type = "rate_limit_error"
    code = "key_share_exceeded"
    should_retry = True

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(
            "This API key has its whole share of the queue in flight.", retry_after_s=retry_after_s
        )


class JobFailed(DomainError):
    """The job ended without a picture; the code is the worker's."""

    code = "job_failed"

    def __init__(self, message: str, code: str = "job_failed") -> None:
        super().__init__(message)
        self.code = code


class JobCancelled(DomainError):
    """Someone cancelled the job while a caller waited for it."""

    status = 409
    type = "invalid_request_error"
    code = "job_cancelled"
    should_retry = False

    def __init__(self) -> None:
        super().__init__("The job was cancelled.")


class Unavailable(DomainError):
    """This server can't take work now."""

    status = 503
    type = "server_error"
    code = "unavailable"
    should_retry = True


class QueueUnavailable(Unavailable):
    """Redis does not answer, or refuses; redis_faults.py has a code for each reason."""

    code = "queue_unavailable"

    def __init__(
        self, message: str = "The queue is not reachable.", code: str = "queue_unavailable"
    ) -> None:
        super().__init__(message, retry_after_s=2.0)
        self.code = code


class NoWorker(Unavailable):
    """No live worker serves the model."""

    code = "no_worker"

    def __init__(self, model: str) -> None:
        super().__init__(f"No worker serves {model!r} now.", param="model", retry_after_s=5.0)


class Draining(Unavailable):
    """This API process is shutting down."""

    code = "draining"

    def __init__(self) -> None:
        super().__init__("The server is shutting down.", retry_after_s=1.0)


class DeadlinePassed(DomainError):
    """The job's deadline passed before its pictures were ready.

    Not to be tried again unasked: repeated calls would make a busy queue longer still.
    """

    status = 504
    type = "timeout_error"
    code = "deadline_passed"
    should_retry = False

    def __init__(self) -> None:
        super().__init__("The deadline passed before the picture was ready.")


class StartRefused(Exception):
    """A process must not start like this; the message is one line for the operator."""
