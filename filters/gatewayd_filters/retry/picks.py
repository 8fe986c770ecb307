"""Which instances another pick is to avoid: those that failed, and those with an open breaker."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayd import BreakerOpen, Exchange, Instance

MOST_PASSED_BY = 10
"""Instances with an open breaker that one exchange passes by."""


def avoid(exchange: Exchange, instance: Instance | None) -> None:
    """Have the next pick of an exchange pass over an instance, if there is one."""
    if instance is not None:
        exchange.tried = (*exchange.tried, instance)


def pass_by(
    exchange: Exchange, passed_by: tuple[Instance, ...], refusal: BreakerOpen
) -> tuple[Instance, ...]:
    """Have another instance picked than the present one, whose breaker is open.

    Args:
        exchange: The exchange.
        passed_by: Instances whose breakers were found open before.
        refusal: What its breaker said.

    Returns:
        ``passed_by`` with this one.

    Raises:
        BreakerOpen: there is no other, or enough were looked at.

    """
    instance, tried = exchange.instance, exchange.tried
    if instance is None:
        raise refusal
    if instance not in passed_by:
        passed_by = (*passed_by, instance)
    if len(passed_by) > MOST_PASSED_BY:
        raise refusal
    if instance not in tried:
        avoid(exchange, instance)
        return passed_by
    # The balancer has no fresh one left. Those that have failed are better than an open breaker.
    if all(one in passed_by for one in tried):
        raise refusal
    exchange.tried = passed_by
    return passed_by
