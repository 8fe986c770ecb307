"""Discovery ``dns``: the instances are what a name resolves to.

DNS is asked again when its answer expires, within bounds. An outage of DNS is none of the service:
on failure, and when the name is suddenly gone, the instances stay as they were.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from gatewayd.config.types import Seconds  # noqa: TC001  # pydantic needs it
from gatewayd.services.discovery import Discovery, DiscoveryConfig, InstanceSpec
from gatewayd.services.dns_lookup import Answer, Lookup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LONGEST_RETRY = 30.0
"""Seconds between tries while DNS does not answer, at most."""

logger = logging.getLogger("gatewayd.services.dns")


def _resolver(value: str) -> str:
    with_port = re.fullmatch(r"(?:\[(.+)\]|([^:]+)):(\d{1,5})", value)
    try:
        ip_address(with_port[1] or with_port[2] if with_port else value)
    except ValueError:
        raise ValueError(
            "expected `address` or `address:port`, `[address]:port` for IPv6"
        ) from None
    return value


class DnsConfig(DiscoveryConfig):
    """Settings of the discovery `dns`.

    Where the instances speak `https`, set the service's `tls.server_name`: they are known by
    address, and certificates are made out to names.

    At most 256 targets of `SRV` records are resolved and 1024 instances used, the first ones in the
    order of their names and addresses; what is left out is logged.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?$")]
    """Fully qualified name; search domains are not tried."""
    type: Literal["A+AAAA", "SRV"] | None = None
    """Records to ask for. `SRV` (RFC 2782) tells ports, priorities and weights too. By default
    `SRV` for a name that begins with `_`, else `A+AAAA`."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of the instances; needed with `A+AAAA`, told by `SRV`."""
    scheme: Literal["http", "https"] = "http"
    """What the instances speak."""
    min_ttl: Seconds = 5.0
    """Seconds for which an answer is used at least, however short its own time to live; also the
    first pause after a failure. Envoy's refresh rate."""
    max_ttl: Seconds = 300.0
    """Seconds for which an answer is used at most, however long its own time to live."""
    timeout: Seconds = 3.0
    """Time for one query, its second try included."""
    resolvers: list[Annotated[str, AfterValidator(_resolver)]] = Field(default=[])
    """DNS servers to ask, `address` or `address:port`; those of the system where empty."""

    @model_validator(mode="after")
    def _complete(self) -> DnsConfig:
        if (self.port is None) == (self.records == "A+AAAA"):
            raise ValueError("port goes with A+AAAA records; SRV records tell it")
        if self.min_ttl > self.max_ttl:
            raise ValueError("min_ttl is above max_ttl")
        return self

    @property
    def records(self) -> Literal["A+AAAA", "SRV"]:
        """The records to ask for."""
        return self.type or ("SRV" if self.name.startswith("_") else "A+AAAA")


class DnsDiscovery(Discovery):
    """Follows what a name resolves to."""

    name = "dns"
    Config = DnsConfig

    config: DnsConfig

    def __init__(self, service: str, config: DnsConfig) -> None:
        super().__init__(service, config)
        self._lookup = Lookup(config.resolvers, config.timeout)
        self._told: tuple[InstanceSpec, ...] | None = None
        self._failures = 0
        self._too_many = False
        self._task: asyncio.Task[None] | None = None

    async def start(self, update: Callable[[Sequence[InstanceSpec]], None]) -> None:
        """See :meth:`Discovery.start`; returns after the first round of queries, failed or not."""
        asked = asyncio.Event()
        self._task = asyncio.create_task(self._follow(update, asked), name=f"dns of {self.service}")
        await asked.wait()

    async def close(self) -> None:
        """See :meth:`Discovery.close`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _follow(
        self, update: Callable[[Sequence[InstanceSpec]], None], asked: asyncio.Event
    ) -> None:
        while True:
            try:
                pause = self._take(await self._ask(), update)
            except Exception as error:
                # Whatever it is: a discovery that stops would leave the service stale for good.
                pause = self._failed([repr(error)])
            asked.set()
            # Spread, so that workers and nodes do not ask in step.
            await asyncio.sleep(pause * random.uniform(0.8, 1.0))  # noqa: S311  # no secret

    async def _ask(self) -> Answer:
        config = self.config
        if config.port is None:
            return await self._lookup.services(config.scheme, config.name)
        return await self._lookup.addresses(config.scheme, config.name, config.port)

    def _take(self, answer: Answer, update: Callable[[Sequence[InstanceSpec]], None]) -> float:
        """Pass an answer on if it is one and says something new; return seconds until the next."""
        if (answer.specs or answer.empty) and answer.specs != self._told:
            self._told = answer.specs
            update(answer.specs)
        if answer.left_out and not self._too_many:
            used = ", ".join(answer.left_out)
            logger.warning("service %s: DNS tells too many, using %s", self.service, used)
        self._too_many = bool(answer.left_out)
        if answer.failures or not (answer.specs or answer.empty):
            return self._failed(answer.failures or [f"{self.config.name}: no records"])
        if self._failures:
            self._failures = 0
            logger.info("service %s: DNS answers again", self.service)
        return min(max(answer.ttl, self.config.min_ttl), self.config.max_ttl)

    def _failed(self, reasons: Sequence[str]) -> float:
        """Log the first failure of a row; return seconds until the next try."""
        if not self._failures:
            known = "no instance is known" if not self._told else "going on with those known"
            logger.warning("service %s: %s (%s)", self.service, known, "; ".join(reasons))
        self._failures += 1
        # The exponent is bounded, as numbers are.
        pause = self.config.min_ttl * 2.0 ** min(self._failures - 1, 16)
        return min(pause, self.config.max_ttl, max(LONGEST_RETRY, self.config.min_ttl))
