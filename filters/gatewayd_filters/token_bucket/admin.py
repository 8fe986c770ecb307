"""What operators may do with buckets: look at them, and fill them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayd import GatewayError
from gatewayd_filters.token_bucket.backend import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayd_filters.token_bucket.backend import Backend, Charge
    from gatewayd_filters.token_bucket.costs import Costs
    from gatewayd_filters.token_bucket.plans import Plans


class BucketOperations:
    """Operations on the buckets of callers that were seen lately.

    Both take ``prefix``, what the keys of buckets begin with, and ``limit``, how many buckets at
    most.

    Args:
        plans: Knows the callers.
        backend: Where their buckets are.
        costs: Knows what they owe; ``None`` where nobody can owe anything.

    """

    def __init__(self, plans: Plans, backend: Backend, costs: Costs | None) -> None:
        self._plans = plans
        self._backend = backend
        self._costs = costs

    async def peek(self, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Tell what buckets hold.

        Raises:
            GatewayError: the buckets cannot be reached.

        """
        try:
            return [
                {
                    "key": charge.key,
                    "remaining": round(await self._backend.held(charge), 6),
                    "burst": charge.limit.burst,
                    "rate": charge.limit.rate,
                }
                for charge in self._found(arguments)
            ]
        except BackendUnavailable as error:
            raise _unreachable(error) from error

    async def reset(self, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Fill buckets, of which nothing is owed then, and tell which.

        Raises:
            GatewayError: the buckets cannot be reached; some of them may be full.

        """
        found = self._found(arguments)
        try:
            for charge in found:
                await self._backend.fill(charge)
                if self._costs is not None:
                    self._costs.forgive(charge.key)
        except BackendUnavailable as error:
            raise _unreachable(error) from error
        return [{"key": charge.key} for charge in found]

    def _found(self, arguments: Mapping[str, Any]) -> list[Charge]:
        return self._plans.charges(str(arguments["prefix"]), int(arguments["limit"]))


def _unreachable(error: BackendUnavailable) -> GatewayError:
    return GatewayError(f"the buckets cannot be reached: {error}")
