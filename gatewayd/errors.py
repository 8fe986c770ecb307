"""Everything that the gateway raises, and the one place that turns it into a response.

Three audiences: the operator gets a :class:`ConfigError` with file, line, key and expectation; the
client gets an RFC 9457 problem document with a stable ``code`` and the request id; the log gets
the rest. Nothing of an unexpected exception reaches the client.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

import orjson

from gatewayd.exchange import Response
from gatewayd.headers import Headers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class GatewayError(Exception):
    """Base of all errors that gatewayd raises on purpose."""


class ConfigIssue:
    """One thing that is wrong in a configuration, told to whoever can mend it.

    Args:
        message: What is wrong and what was expected.
        key: Dotted path of the key, as ``routes[2].timeout``.
        file, line: Where it stands; line counts from 1. Empty and 0 where it stands in no file.
        hint: What to do, such as the nearest valid name.

    """

    __slots__ = ("file", "hint", "key", "line", "message")

    def __init__(
        self, message: str, *, key: str = "", file: str = "", line: int = 0, hint: str = ""
    ) -> None:
        self.message = message
        self.key = key
        self.file = file
        self.line = line
        self.hint = hint

    def __str__(self) -> str:
        place = (
            f"{self.file}:{self.line}: "
            if self.file and self.line
            else (f"{self.file}: " if self.file else "")
        )
        key = f"{self.key}: " if self.key else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{key}{self.message}{hint}"

    def __repr__(self) -> str:
        return f"ConfigIssue({str(self)!r})"


class ConfigError(GatewayError):
    """A configuration that cannot be used; holds every issue found, not only the first."""

    def __init__(self, issues: Sequence[ConfigIssue] | ConfigIssue) -> None:
        self.issues = [issues] if isinstance(issues, ConfigIssue) else list(issues)
        super().__init__("\n".join(str(issue) for issue in self.issues))


class Reject(GatewayError):  # noqa: N818  # what filters raise to refuse; not an error of theirs
    """Refuse the exchange: raised by filters, answered with a problem document.

    Args:
        status: HTTP status, 400 to 599. 4xx is the caller's fault, 5xx ours or the upstream's.
        code: Stable machine-readable code in snake_case; part of the API.
        detail: One sentence for the caller; it must give nothing away.
        headers: Extra response fields, such as ``("Retry-After", "1")``.

    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str = "",
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = list(headers)


class UpstreamError(Reject):
    """An attempt at an instance failed.

    Attributes:
        reason: The condition's name in ``retry.on`` and in metrics.
        sent: Whether a byte of the request may have reached the instance. Where it has not, any
            method may be tried again (RFC 9110 section 9.2.2).
        instance_failed: Whether it counts against the instance, for breakers and health. It does
            not where the gateway's own limits, or a slow client, were the reason, nor where little
            of the exchange's time was left for it: no client must be able to make an instance look
            bad.

    """

    default_status: ClassVar[int] = 502
    default_code: ClassVar[str] = "upstream_error"
    default_detail: ClassVar[str] = "The upstream service failed."
    reason: ClassVar[str] = "upstream_error"
    instance_failed: bool = True

    def __init__(self, cause: str, *, sent: bool, headers: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(self.default_status, self.default_code, self.default_detail, headers)
        self.cause = cause
        self.sent = sent

    def __str__(self) -> str:
        return f"{self.code}: {self.cause}"


class ConnectFailure(UpstreamError):  # noqa: N818  # named as the condition in retry.on
    """No connection could be made: refused, unreachable, name not resolved, TLS failed."""

    default_code = "upstream_connect_failure"
    default_detail = "The upstream service could not be reached."
    reason = "connect_failure"


class ConnectTimeout(ConnectFailure):
    """The connection was not made in time."""

    default_status = 504
    default_code = "upstream_connect_timeout"
    default_detail = "The upstream service could not be reached in time."


class UpstreamReset(UpstreamError):  # noqa: N818
    """The connection ended before the response was complete."""

    default_code = "upstream_reset"
    default_detail = "The upstream service closed the connection early."
    reason = "reset"


class UpstreamTimeout(UpstreamError):  # noqa: N818
    """The instance did not answer, or not go on, in time."""

    default_status = 504
    default_code = "upstream_timeout"
    default_detail = "The upstream service did not answer in time."
    reason = "timeout"


class BadResponse(UpstreamError):  # noqa: N818
    """What came back is not an HTTP response that can be forwarded."""

    default_code = "upstream_bad_response"
    default_detail = "The upstream service sent an invalid response."
    reason = "bad_response"


class PoolExhausted(UpstreamError):  # noqa: N818
    """All connections that the instance may have are in use, and none came free in time."""

    default_status = 503
    default_code = "upstream_overloaded"
    default_detail = "The upstream service is overloaded."
    reason = "overloaded"
    instance_failed = False


class NoInstance(Reject):
    """The service has no instance that may be used now."""

    def __init__(self, retry_after: float = 1.0) -> None:
        super().__init__(
            503,
            "no_instance",
            "The service has no instance available.",
            [("Retry-After", _delay(retry_after))],
        )


class BreakerOpen(Reject):
    """A circuit breaker is open: nothing was sent, and another instance may be tried at no cost.

    Args:
        retry_after: Seconds until the breaker lets something through again.

    """

    reason: ClassVar[str] = "breaker_open"
    """The condition's name in metrics, as that of an :class:`UpstreamError`."""

    def __init__(self, retry_after: float = 1.0) -> None:
        super().__init__(
            503,
            "breaker_open",
            "The service is failing and is given time to recover.",
            [("Retry-After", _delay(retry_after))],
        )


def _delay(seconds: float) -> str:
    """Return the value of Retry-After (RFC 9110 section 10.2.3): whole seconds, 1 or more."""
    return str(max(1, math.ceil(seconds)))


INTERNAL = Reject(500, "internal_error", "The gateway failed to handle the request.")


def forget_frames(error: BaseException) -> None:
    """Drop what tells of the way that an error has taken, for one that is kept or was dealt with.

    The error knows the frames that it has passed, and those know the exchange, which may know the
    error. Such a ring lasts until a full garbage collection; that comes with the number of objects,
    whatever bytes a client has put into them.
    """
    error.__traceback__ = error.__context__ = error.__cause__ = None


def problem_response(reject: Reject, request_id: str, trace_id: str | None = None) -> Response:
    """Build the RFC 9457 problem document for a refusal.

    ``type`` stays ``about:blank`` (section 4.2.1), so ``title`` is the status phrase; ``code``,
    ``request_id`` and ``trace_id`` are extension members.
    """
    problem = {
        "type": "about:blank",
        "title": phrase(reject.status),
        "status": reject.status,
        "code": reject.code,
        "detail": reject.detail,
        "request_id": request_id,
    }
    if trace_id is not None:
        problem["trace_id"] = trace_id
    headers = Headers.of_lines([(b"Content-Type", b"application/problem+json")])
    for name, value in reject.headers:
        headers.add(name, value)
    return Response(reject.status, headers, orjson.dumps(problem))


def phrase(status: int) -> str:
    """Return the reason phrase of a status code, or its class's name for an unregistered one."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Client Error" if status < 500 else "Server Error"
