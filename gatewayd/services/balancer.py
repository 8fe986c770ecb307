"""What picks an instance; entry-point group ``gatewayd.balancers``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict

from gatewayd.config.model import Checked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd.exchange import Exchange, Response
    from gatewayd.gateway import Gateway
    from gatewayd.services.instance import Instance


class StrategyConfig(Checked):
    """Base of a balancer's settings, which stand beside its name in ``strategy``."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )


class Balancer:
    """Picks an instance of one service. One object per service, shared by all exchanges.

    Args:
        config: The balancer's settings, validated with its ``Config``.
        gateway: What the host gives. A balancer outlives the generation that made it, so it takes
            what it needs, such as the clock, and does not keep the gateway.

    """

    name: ClassVar[str]
    """Entry-point name, the value of ``strategy``."""

    Config: ClassVar[type[StrategyConfig]] = StrategyConfig
    """Pydantic model of the settings."""

    affinity: ClassVar[bool] = False
    """Whether a client is to stay with its instance. Such a balancer is given the available
    instances of all zones, those that have just come back included."""

    def __init__(self, config: Any, gateway: Gateway) -> None:
        self.config = config
        self.clock = gateway.clock

    def pick(self, instances: Sequence[Instance], exchange: Exchange) -> Instance:
        """Return one of ``instances``, which may be used, in stable order, and not empty.

        Called for every attempt; it must not wait. The sequence is the same object as long as
        nothing changed, so that what is derived from it can be kept; another attempt is given a
        part of it.
        """
        raise NotImplementedError

    def done(self, instance: Instance, seconds: float, error: BaseException | None) -> None:
        """Learn how an attempt went; called once for each, only where a class overrides it.

        Args:
            instance: Where it went to.
            seconds: How long it took until the response head was there, or until it failed; of a
                request whose body was streamed, from the body's end on: before, its client may have
                been slow. 0 where it failed before that.
            error: Why there is no response; ``None`` where there is one.

        """

    def answered(self, instance: Instance, exchange: Exchange, response: Response) -> None:
        """See, and maybe change, the head of a response; called only where a class overrides it."""
