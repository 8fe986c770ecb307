"""Asking DNS for the addresses behind a name, with their ports, weights and time to live.

A query that fails (time-out, SERVFAIL) is not an answer: the records that it gave last time stand.
An answer that there is no such name is one for a target of an SRV record, which is left out; for
the service's own name it leaves no instance at all, and :mod:`gatewayd.services.dns` decides.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiodns
import pycares

from gatewayd.services.discovery import InstanceSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")
_TYPES = {"A": pycares.QUERY_TYPE_A, "AAAA": pycares.QUERY_TYPE_AAAA, "SRV": pycares.QUERY_TYPE_SRV}
MAX_TARGETS = 256
"""Targets of SRV records whose addresses are asked for, all at once and two queries each."""

MAX_INSTANCES = 1024
"""Instances of one service; each has its connections, checks and metrics."""

_NO_RECORDS = frozenset({aiodns.error.ARES_ENODATA, aiodns.error.ARES_ENOTFOUND})


@dataclass(frozen=True, slots=True)
class _Records:
    """The records of one name and type; ``ttl`` in seconds, of the shortest-lived one."""

    data: Sequence[Any] = ()
    ttl: float = float("inf")


@dataclass(slots=True)
class Answer:
    """What one round of queries found.

    Attributes:
        specs: The instances, in stable order.
        ttl: For how many seconds they hold.
        empty: DNS says that there is no instance: an SRV record whose target is the root
            (RFC 2782), and not merely no record.
        failures: The queries that failed, each with its reason.
        left_out: What was too much, and how much of it is used.

    """

    specs: tuple[InstanceSpec, ...] = ()
    ttl: float = float("inf")
    empty: bool = False
    failures: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


class Lookup:
    """Rounds of queries for one service, each with the records of the last one to fall back on.

    Args:
        resolvers: Addresses of DNS servers with or without port; the system's where empty.
        timeout: Seconds for one query, all its tries together.

    """

    def __init__(self, resolvers: Sequence[str], timeout: float) -> None:
        self._resolvers = resolvers
        self._timeout = timeout
        self._last: dict[tuple[str, str], _Records] = {}

    async def addresses(self, scheme: str, name: str, port: int) -> Answer:
        """Look up the A and AAAA records of a name; every address is an instance."""
        async with self._round() as queries:
            found = await queries.addresses(name)
        specs = [InstanceSpec(_url(scheme, address, port)) for address in found.data]
        return self._finish(queries, specs, found.ttl)

    async def services(self, scheme: str, name: str) -> Answer:
        """Look up the SRV records of a name and the addresses of their targets.

        Only the records with the lowest priority number count (RFC 2782).
        """
        async with self._round() as queries:
            records = await queries.ask(name, "SRV")
            best = min((record.priority for record in records.data), default=0)
            chosen = [record for record in records.data if record.priority == best]
            if [record.target.rstrip(".") for record in chosen] == [""]:
                self._last = queries.asked  # what was withdrawn does not come back in an outage
                return Answer(ttl=records.ttl, empty=True, failures=queries.failures)
            names = sorted({record.target for record in chosen})
            names = queries.bounded(names, MAX_TARGETS, "targets")
            found = await asyncio.gather(*map(queries.addresses, names))
        targets = dict(zip(names, found, strict=True))
        specs = [
            # Weight 0 means "hardly ever" in DNS, and "never" to our balancers.
            InstanceSpec(_url(scheme, address, record.port), weight=max(1, record.weight))
            for record in chosen
            if record.target in targets
            for address in targets[record.target].data
        ]
        return self._finish(queries, specs, min([records.ttl, *(one.ttl for one in found)]))

    def _round(self) -> _Round:
        return _Round(self._resolvers, self._timeout, self._last)

    def _finish(self, queries: _Round, specs: list[InstanceSpec], ttl: float) -> Answer:
        if specs:
            self._last = queries.asked
        # Sorted: servers rotate records from one answer to the next.
        used = queries.bounded(sorted(specs, key=_order), MAX_INSTANCES, "instances")
        return Answer(tuple(used), ttl, failures=queries.failures, left_out=queries.left_out)


class _Round:
    """The queries of one round; a context manager that holds the resolver.

    The resolver is not kept: c-ares would answer from its cache for as long as the TTL says, also
    where ``max_ttl`` is shorter, and each one has a thread of its own.
    """

    def __init__(
        self,
        resolvers: Sequence[str],
        timeout: float,
        last: dict[tuple[str, str], _Records],
    ) -> None:
        self.asked: dict[tuple[str, str], _Records] = {}
        self.failures: list[str] = []
        self.left_out: list[str] = []
        self._last = last
        self._timeout = timeout
        # Tries take 1/3 and 2/3 of the time, as c-ares doubles it.
        self._resolver = aiodns.DNSResolver(resolvers or None, timeout=timeout / 3, tries=2)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._resolver.close()

    def bounded(self, found: list[T], most: int, kind: str) -> list[T]:
        """Return the first of what was found, and note where that is not all."""
        if len(found) > most:
            self.left_out.append(f"{most} of {len(found)} {kind}")
        return found[:most]

    async def addresses(self, name: str) -> _Records:
        """Return the IPv4 and IPv6 addresses of a name."""
        answers = await asyncio.gather(self.ask(name, "A"), self.ask(name, "AAAA"))
        addresses = [record.addr for answer in answers for record in answer.data]
        return _Records(addresses, min(answer.ttl for answer in answers))

    async def ask(self, name: str, kind: str) -> _Records:
        """Return the records of a name, none where there are none, the last ones on failure."""
        try:
            async with asyncio.timeout(self._timeout):
                records = await self._query(name, kind)
        except TimeoutError:
            self.failures.append(f"{kind} {name}: no answer in {self._timeout:g} s")
            records = self._last.get((name, kind), _Records())
        except aiodns.error.DNSError as error:
            self.failures.append(f"{kind} {name}: {error.args[-1]}")
            records = self._last.get((name, kind), _Records())
        self.asked[name, kind] = records
        return records

    async def _query(self, name: str, kind: str) -> _Records:
        try:
            result = await self._resolver.query_dns(name, kind)
        except aiodns.error.DNSError as error:
            if error.args[0] in _NO_RECORDS:
                return _Records()
            raise
        data = [record.data for record in result.answer if record.type == _TYPES[kind]]
        return _Records(data, min((record.ttl for record in result.answer), default=float("inf")))


def _url(scheme: str, address: str, port: int) -> str:
    return f"{scheme}://[{address}]:{port}" if ":" in address else f"{scheme}://{address}:{port}"


def _order(spec: InstanceSpec) -> tuple[str, int]:
    return spec.url, spec.weight
