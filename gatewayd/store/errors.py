"""What can go wrong with the store, in the words of the gateway and not of a driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping


class StoreError(GatewayError):
    """The store refuses: it was not set up, or what was asked for contradicts what it holds."""


class StoreUnavailable(StoreError):  # noqa: N818  # an event, which callers have policies for
    """The store cannot be reached, or does not answer in time.

    Attributes:
        maybe_done: Whether what was to be written may have been.

    """

    def __init__(self, message: str, *, maybe_done: bool = False) -> None:
        super().__init__(message)
        self.maybe_done = maybe_done


class StoreRefused(StoreError):  # noqa: N818  # an answer, not a fault of the store's
    """What was to be written contradicts what the store holds, or does not fit into it."""


class UnreadableRows(StoreError):  # noqa: N818  # of what others have written
    """Rows of the store say nothing sensible, as somebody has changed them by SQL.

    Attributes:
        rows: Why each of them cannot be read, by what it is, such as ``route 'orders'``.

    """

    def __init__(self, rows: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{row}: {reason}" for row, reason in rows.items()))
        self.rows = rows
