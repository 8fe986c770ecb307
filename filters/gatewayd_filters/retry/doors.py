"""Which instances another pick is to avoid: those that failed, and those with an open breaker."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayd import BreakerOpen, Exchange, Instance

MOST_DOORS = 10
"""Instances with an open breaker that one exchange passes by."""


def note_tried(exchange: Exchange) -> None:
    """Have another instance picked than the present one."""
    if exchange.instance is not None:
        exchange.tried = (*exchange.tried, exchange.instance)


def leave_out(
    exchange: Exchange, closed: tuple[Instance, ...], refusal: BreakerOpen
) -> tuple[Instance, ...]:
    """Have another instance picked than the present one, whose door was found closed.

    Args:
        exchange: The exchange.
        closed: Instances whose doors were found closed before.
        refusal: What its breaker said.

    Returns ``closed`` with this one.

    Raises:
        BreakerOpen: there is no other, or enough were looked at.

    """
    instance, tried = exchange.instance, exchange.tried
    if instance is None:
        raise refusal
    if instance not in closed:
        closed = (*closed, instance)
    if len(closed) > MOST_DOORS:
        raise refusal
    if instance not in tried:
        note_tried(exchange)
        return closed
    # The balancer has no fresh one left. Those that have failed are better than a closed door.
    if all(one in closed for one in tried):
        raise refusal
    exchange.tried = closed
    return closed
