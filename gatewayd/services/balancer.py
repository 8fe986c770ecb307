"""What picks an instance; entry-point group ``gatewayd.balancers``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd.exchange import Exchange
    from gatewayd.services.instance import Instance


class Balancer:
    """Picks an instance of one service. One object per service, shared by all exchanges."""

    name: ClassVar[str]
    """Entry-point name, the value of ``strategy``."""

    def pick(self, instances: Sequence[Instance], exchange: Exchange) -> Instance:
        """Return one of ``instances``, which are available, in stable order, and not empty.

        Called once per attempt; it must not wait.
        """
        raise NotImplementedError
