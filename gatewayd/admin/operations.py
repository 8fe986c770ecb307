"""What filters offer to operators: to look at their live state, or to change it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

from gatewayd.errors import GatewayError

Operation: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[Sequence[Any]]]
"""Takes arguments, and returns a list; both are what JSON can say. It raises
:class:`gatewayd.GatewayError` where it refuses them. It must be quick, as it shares the event loop
with exchanges."""


class AdminOperations:
    """The operations of one generation's filters, by name.

    A filter that stands in the configuration several times, with different settings, registers
    the same operation several times. All of them are asked, and their lists joined.
    """

    def __init__(self) -> None:
        self._operations: dict[str, list[Operation]] = {}

    def register(self, name: str, operation: Operation) -> None:
        """Offer an operation.

        Args:
            name: What and what of it, such as ``buckets.reset``.
            operation: Does it.

        """
        self._operations.setdefault(name, []).append(operation)

    @property
    def names(self) -> list[str]:
        """The names of all operations."""
        return sorted(self._operations)

    async def run(self, name: str, arguments: Mapping[str, Any]) -> list[Any]:
        """Run an operation of all filters that offer it, and return all that they tell.

        Raises:
            GatewayError: none offers it, or one refuses its arguments.

        """
        if name not in self._operations:
            raise GatewayError(f"no filter offers {name!r}")
        return [item for one in self._operations[name] for item in await one(arguments)]
