"""One attempt: a request as it goes to one instance, and how long that may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import Struct

from gatewayd.timers import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.body import Body
    from gatewayd.headers import Headers


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long an attempt may take, in seconds; the attempt fails with 504 after that.

    Attributes:
        first_byte: From the last byte of the request to the response head.
        between_bytes: Between two reads of the response body.
        write: In which the instance takes nothing of a request that waits for it.
        tunnel_idle: In which a tunnel carries nothing.
        expect: Wait for ``100 Continue`` before the body is sent all the same.

    """

    first_byte: float = 60.0
    between_bytes: float = 60.0
    write: float = 60.0
    tunnel_idle: float = 3600.0
    expect: float = 1.0


class Attempt(Struct, eq=False):
    """A request as it goes to one instance.

    Attributes:
        method: Its method.
        head: The complete head, its empty line included.
        body: What follows the head.
        chunked: Whether the body is sent chunked.
        timeouts: Limits of this attempt.
        deadline: When the whole exchange must have ended, in the sweeper's clock.
        on_interim: Is given 1xx responses.
        upgrade: The protocol that the client asks for; without it a 101 is refused.
        expects_continue: Wait for ``100 Continue`` before the body is sent.
        answer_by: When the response head must be there, same clock as ``deadline``.
        received_at: When the exchange began, same clock.
        asked_at: When it began to wait for a connection, same clock, if it had to.
        interim: 1xx responses that it was answered with.

    """

    method: str
    head: bytes
    body: bytes | Body
    chunked: bool
    timeouts: Timeouts
    deadline: float
    on_interim: Callable[[int, Headers], None]
    upgrade: str | None = None
    expects_continue: bool = False
    answer_by: float = NEVER
    received_at: float = NEVER
    asked_at: float = NEVER
    interim: int = 0

    def gives_time(self, since: float) -> bool:
        """Whether an instance that is waited for since then has the larger part of the time.

        What an upload, other attempts or the wait for a connection have left over may be too short
        for any instance. One that never answers would be hidden, though, if no time-out but those
        of its own counted.
        """
        if self.deadline <= self.answer_by:
            return self.deadline - since >= since - self.received_at
        return self.answer_by - since >= since - self.asked_at
