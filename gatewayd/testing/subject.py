"""What the contract suite checks: a filter with what it needs to run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from gatewayd.body import Body
from gatewayd.exchange import Context, Exchange, Response, name_of
from gatewayd.testing.exchanges import make_exchange
from gatewayd.testing.gateways import make_gateway, running

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from gatewayd.filter import Filter
    from gatewayd.gateway import Gateway


class ContractError(AssertionError):
    """A filter breaks its contract."""


@dataclass(frozen=True)
class Subject:
    """A filter under test.

    Attributes:
        plugin: The filter class.
        settings: Settings to construct it with.
        values: A value for each attribute and key in its ``requires``.
        gateway: What it is given.

    """

    plugin: type[Filter[Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[Context, Any] = field(default_factory=dict)
    gateway: Gateway = field(default_factory=make_gateway)

    def running(self) -> AbstractAsyncContextManager[Filter[Any]]:
        """Run the filter."""
        return running(self.plugin, self.settings, gateway=self.gateway)

    def require(self, condition: object, message: str) -> None:
        """Raise :class:`ContractError` unless ``condition`` holds."""
        if not condition:
            self.fail(message)

    def fail(self, message: str) -> NoReturn:
        """Raise :class:`ContractError`."""
        raise ContractError(f"filter {self.plugin.name!r}: {message}")

    def require_sendable(self, response: Any) -> None:
        """Raise :class:`ContractError` unless ``response`` is one that the server can send."""
        self.require(isinstance(response, Response), f"returned {response!r}, which is no Response")
        self.require(
            isinstance(response.body, (bytes, Body)),
            f"gave a response the body {response.body!r}, which is neither bytes nor a Body",
        )

    def exchange(self) -> Exchange:
        """Make an exchange in which all that the filter requires is set."""
        missing = self.plugin.requires - self.values.keys()
        self.require(not missing, f"give a value for {sorted(map(name_of, missing))}")
        return make_exchange(values=self.values)
