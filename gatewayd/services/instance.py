"""One address of a service, with its connections and what is known of its health."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from gatewayd.body import StreamBody
from gatewayd.errors import UpstreamError
from gatewayd.timers import NEVER
from gatewayd.upstream.attempt import Attempt, Timeouts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd.body import Body
    from gatewayd.exchange import Response
    from gatewayd.headers import Headers
    from gatewayd.services.discovery import InstanceSpec
    from gatewayd.upstream.pool import Pool

_DEFAULT_TIMEOUTS = Timeouts()
_CHUNKED = b"Transfer-Encoding: chunked\r\n"


class Instance:
    """One address of a service.

    Attributes:
        service: Name of the service.
        url: ``scheme://host:port``; its identity within the service.
        authority: Host and port as they stand in a Host field.
        weight: Relative share of the requests.
        zone: Where it stands.
        healthy: What discovery says of its health.
        checked: What active health checks say of it; true where there are none.
        ejected_until: When its ejection by outlier detection ends, on the gateway's clock; 0 while
            it is not ejected.
        since: When it last became available, on the gateway's clock; 0 where it always was.
        outcome: Is told URL and failure or not after every attempt; ``None`` where nobody asks.
        pool: Its connections.

    """

    __slots__ = (
        "authority", "checked", "ejected_until", "healthy", "outcome", "pool", "service", "since",
        "url", "weight", "zone",
    )  # fmt: skip

    def __init__(self, service: str, spec: InstanceSpec, pool: Pool) -> None:
        self.service = service
        self.url = spec.url
        self.authority = urlsplit(spec.url).netloc
        self.pool = pool
        self.weight = spec.weight
        self.zone = spec.zone
        self.healthy = spec.healthy
        self.checked = True
        self.ejected_until = 0.0
        self.since = 0.0
        self.outcome: Callable[[str, bool], None] | None = None

    @property
    def usable(self) -> bool:
        """Whether discovery lets it be picked, whatever its health has shown since."""
        return self.healthy and self.weight > 0

    @property
    def available(self) -> bool:
        """Whether a balancer may pick it; an ejection counts until it has been lifted."""
        return self.usable and self.checked and not self.ejected_until

    @property
    def active(self) -> int:
        """Exchanges that it is working on for this worker."""
        return self.pool.active

    def send(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: bytes | Body = b"",
        *,
        extra_fields: bytes = b"",
        timeouts: Timeouts = _DEFAULT_TIMEOUTS,
        deadline: float | None = None,
        answer_by: float | None = None,
        received_at: float = NEVER,
        on_interim: Callable[[int, Headers], None] = lambda _status, _headers: None,
        upgrade: str | None = None,
        expects_continue: bool = False,
    ) -> Awaitable[Response]:
        """Send a request to this instance; gives its response once the head is there.

        Args:
            method: Method token.
            target: Request target in origin-form.
            headers: Fields, Host included; what frames the body is added here.
            body: The whole body, or a stream.
            extra_fields: Further field lines, each with its CRLF.
            timeouts: Limits of this attempt.
            deadline: When the whole exchange must have ended, on the gateway's clock.
            answer_by: When the response head must be there, same clock.
            received_at: When the exchange began, same clock. That its deadline passes counts
                against the instance if that had the larger part of the time since then.
            on_interim: Is given 1xx responses other than 100 and 101.
            upgrade: Protocol to ask for; its 101 comes back as a response with a tunnel.
            expects_continue: Send ``Expect: 100-continue`` with a streamed body.

        Raises:
            UpstreamError: the instance failed.
            ValueError: the target has a space or a line end within.
            Exception: what reading ``body`` raised.

        """
        if type(body) is bytes:
            chunked = expects_continue = False
            framing = b""
            if body or method in _METHODS_WITH_BODY:
                framing = b"Content-Length: %d\r\n" % len(body)
        else:
            length = cast("Body", body).length
            chunked = length is None
            framing = _CHUNKED if length is None else b"Content-Length: %d\r\n" % length
            if expects_continue:
                framing += b"Expect: 100-continue\r\n"
        if upgrade is not None:
            framing += f"Connection: Upgrade\r\nUpgrade: {upgrade}\r\n".encode("latin-1")
        # A filter may have put a decoded parameter into the path. A line end in it would begin
        # another field, or another request past all filters; this takes 0.1 us.
        if " " in target or "\n" in target or "\r" in target:
            raise ValueError(f"a space or line end in the path or query, not encoded: {target!r}")
        line = f"{method} {target} HTTP/1.1\r\n".encode("latin-1")
        response = self.pool.send(
            Attempt(
                method,
                b"".join((line, headers.encoded, extra_fields, framing, b"\r\n")),
                body,
                chunked,
                timeouts,
                NEVER if deadline is None else deadline,
                on_interim,
                upgrade,
                expects_continue,
                NEVER if answer_by is None else answer_by,
                received_at,
            )
        )
        return response if self.outcome is None else self._watched(response, self.outcome)

    async def _watched(
        self, coming: Awaitable[Response], outcome: Callable[[str, bool], None]
    ) -> Response:
        try:
            response = await coming
        except UpstreamError as error:
            if error.instance_failed:
                outcome(self.url, True)
            raise
        body = response.body
        if response.status < 500 and isinstance(body, StreamBody) and not body.ended:
            body.on_end = partial(self._body_ended, outcome)
        else:
            outcome(self.url, response.status >= 500)
        return response

    def _body_ended(
        self, outcome: Callable[[str, bool], None], error: BaseException | None
    ) -> None:
        if not isinstance(error, UpstreamError):
            outcome(self.url, False)
        elif error.instance_failed:
            outcome(self.url, True)

    def __repr__(self) -> str:
        return f"<instance {self.url} of {self.service}>"


# RFC 9110 section 8.6: these say how long their body is, also where it is empty.
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
