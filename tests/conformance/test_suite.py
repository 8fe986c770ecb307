"""The suite itself: a proxy that copies bytes must fail it, else it proves nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.conformance.origin import Origin
from tests.conformance.report import DOCUMENT
from tests.conformance.run import run
from tests.conformance.suite import CASES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENCE = 0.2
"""Seconds; the copying proxy answers at once or never."""

BY_ID = {case.id: case for case in CASES}


@asynccontextmanager
async def copying_proxy(origin: Origin) -> AsyncIterator[int]:
    """Copy every byte both ways; yields the port."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_origin = await asyncio.open_connection("127.0.0.1", origin.port)
        await asyncio.gather(copy(reader, to_origin[1]), copy(to_origin[0], writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def problems_of_copying(case_id: str) -> list[str]:
    async with Origin() as origin, copying_proxy(origin) as port:
        seen = await run(BY_ID[case_id], port, origin, PATIENCE)
    return BY_ID[case_id].problems(seen, ours=False)


@pytest.mark.parametrize(
    "case_id",
    ["get", "cl-post", "te-chunked", "head", "pipeline-two", "stream-up", "tunnel", "response-204"],
)
async def test_copying_passes_a_case_that_needs_no_proxy(case_id: str) -> None:
    assert await problems_of_copying(case_id) == []


@pytest.mark.parametrize(
    "case_id",
    [
        "bare-lf-request-line", "name-space-before-colon", "host-twice", "cl-twice-different",
        "cl-plus", "te-xchunked", "te-1.0", "chunk-size-prefix", "chunk-ext-lf", "smuggle-cl-te",
        "smuggle-te-cl", "pipeline-garbage", "hop-named", "via", "xff-none", "path-up",
        "path-double", "response-line-garbage", "response-field-nul", "response-cl-twice-different",
        "response-cl-smuggle", "response-chunk-lf-size", "response-204-length", "interim-1.0",
        "own-not-found", "expect-not-found", "tunnel-no-connection",
    ],
)  # fmt: skip
async def test_copying_fails_a_case_that_needs_one(case_id: str) -> None:
    assert await problems_of_copying(case_id) != []


def test_ids_are_unique() -> None:
    assert len(BY_ID) == len(CASES)


def test_document_has_every_case() -> None:
    text = DOCUMENT.read_text()

    missing = [case.id for case in CASES if f"**{case.id}**" not in text]

    assert missing == [], "run `python -m tests.conformance --write`"


def test_the_page_shows_control_characters_and_has_none() -> None:
    page = DOCUMENT.read_text()
    assert {one for one in page if not one.isprintable()} == {"\n"}
    assert "`HTTP/1.1\\x00`" in page
