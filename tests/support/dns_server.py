"""A DNS server on a UDP port of loopback that answers what a test tells it to."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Self

TYPES = {"A": 1, "AAAA": 28, "SRV": 33}
NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3


class DnsServer(asyncio.DatagramProtocol):
    """Answers from ``records``; a name that has none does not exist.

    Attributes:
        records: Wire data by name and type; each entry is ``(ttl, data)``.
        broken: Names that are answered with SERVFAIL.
        silent: Whether nothing is answered at all.
        questions: Name and type of every question that came in.

    """

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[tuple[int, bytes]]] = {}
        self.broken: set[str] = set()
        self.silent = False
        self.questions: list[tuple[str, str]] = []
        self._asked = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", 0)
        )
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._transport.close()

    @property
    def address(self) -> str:
        """``address:port``, as a resolver is given."""
        host, port = self._transport.get_extra_info("sockname")
        return f"{host}:{port}"

    def add_a(self, name: str, *addresses: str, ttl: int = 60) -> None:
        """Answer with these IPv4 addresses."""
        self.records[name, "A"] = [(ttl, socket.inet_aton(one)) for one in addresses]

    def add_aaaa(self, name: str, *addresses: str, ttl: int = 60) -> None:
        """Answer with these IPv6 addresses."""
        data = [socket.inet_pton(socket.AF_INET6, one) for one in addresses]
        self.records[name, "AAAA"] = [(ttl, one) for one in data]

    def add_srv(self, name: str, *records: tuple[int, int, int, str], ttl: int = 60) -> None:
        """Answer with these records: priority, weight, port, target."""
        self.records[name, "SRV"] = [
            (ttl, struct.pack("!3H", *numbers) + _encode(target)) for *numbers, target in records
        ]

    async def asked_again(self) -> None:
        """Return after the next question."""
        self._asked.clear()
        await self._asked.wait()

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        name, end = _decode(data, 12)
        (number,) = struct.unpack_from("!H", data, end)
        kind = next(kind for kind, known in TYPES.items() if known == number)
        self.questions.append((name, kind))
        self._asked.set()
        if not self.silent:
            self._transport.sendto(self._answer(data[:2], data[12 : end + 4], name, kind), address)

    def _answer(self, number: bytes, question: bytes, name: str, kind: str) -> bytes:
        records = self.records.get((name, kind), [])
        if name in self.broken:
            records, code = [], SERVER_FAILURE
        elif any(known == name for known, _ in self.records):
            code = NO_ERROR
        else:
            code = NO_SUCH_NAME
        # QR, RD and RA set; one question; no authority, nothing additional (RFC 1035 section 4).
        head = number + struct.pack("!HHHHH", 0x8180 | code, 1, len(records), 0, 0)
        answers = [
            struct.pack("!HHHIH", 0xC00C, TYPES[kind], 1, ttl, len(data)) + data
            for ttl, data in records
        ]
        return head + question + b"".join(answers)


def _encode(name: str) -> bytes:
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _decode(data: bytes, start: int) -> tuple[str, int]:
    labels = []
    while length := data[start]:
        labels.append(data[start + 1 : start + 1 + length].decode())
        start += 1 + length
    return ".".join(labels).lower(), start + 1
