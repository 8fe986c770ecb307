from __future__ import annotations

import re

import pytest

from gatewayd import Body, Headers, NoBody, Response
from gatewayd.server.entry import HTTP_1_0, HTTP_1_1
from gatewayd.server.response import (
    CHUNKED_BODY,
    CLOSE,
    LENGTH,
    NONE,
    encode_head,
    encode_interim,
    frame,
)

DATE = re.compile(rb"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n")


@pytest.mark.parametrize(
    ("status", "body", "method", "version", "framed"),
    [
        (200, b"hello", "GET", HTTP_1_1, (LENGTH, 5)),
        (200, b"", "GET", HTTP_1_1, (LENGTH, 0)),
        (200, b"hello", "HEAD", HTTP_1_1, (NONE, 5)),
        (200, b"hello", "GET", HTTP_1_0, (LENGTH, 5)),
        (200, Body(7), "GET", HTTP_1_1, (LENGTH, 7)),
        (200, Body(0), "GET", HTTP_1_1, (LENGTH, 0)),
        (200, Body(), "GET", HTTP_1_1, (CHUNKED_BODY, None)),
        (200, Body(), "GET", HTTP_1_0, (CLOSE, None)),
        (200, Body(), "HEAD", HTTP_1_0, (NONE, None)),
        (200, NoBody(7), "HEAD", HTTP_1_1, (NONE, 7)),
        (404, b"no", "PUT", HTTP_1_1, (LENGTH, 2)),
        (204, b"", "GET", HTTP_1_1, (NONE, None)),
        (204, b"hello", "GET", HTTP_1_1, (NONE, None)),
        (204, Body(), "GET", HTTP_1_0, (NONE, None)),
        (304, b"", "GET", HTTP_1_1, (NONE, None)),
        (304, NoBody(7), "GET", HTTP_1_1, (NONE, 7)),
        (304, NoBody(7), "HEAD", HTTP_1_1, (NONE, 7)),
        (101, b"", "GET", HTTP_1_1, (NONE, None)),
    ],
)
def test_framing(
    status: int,
    body: bytes | Body,
    method: str,
    version: tuple[int, int],
    framed: tuple[str, int | None],
) -> None:
    assert frame(Response(status, body=body), method, version) == framed


@pytest.mark.parametrize(
    ("framing", "length", "connection", "expected"),
    [
        (LENGTH, 5, b"", b"Content-Length: 5\r\n"),
        (NONE, 0, b"", b"Content-Length: 0\r\n"),
        (NONE, None, b"", b""),
        (CHUNKED_BODY, None, b"", b"Transfer-Encoding: chunked\r\n"),
        (CLOSE, None, b"Connection: close\r\n", b"Connection: close\r\n"),
    ],
)
def test_heads(framing: str, length: int | None, connection: bytes, expected: bytes) -> None:
    headers = Headers.of_lines([(b"A", b"caf\xe9"), (b"Date", b"now"), (b"a", b"")])
    head = encode_head(Response(200, headers), framing, length, connection)
    fields = b"A: caf\xe9\r\nDate: now\r\na: \r\n"
    assert head == b"HTTP/1.1 200 OK\r\n" + fields + expected + b"\r\n"


@pytest.mark.parametrize(("status", "line"), [(404, b"404 Not Found"), (599, b"599 Server Error")])
def test_status_lines(status: int, line: bytes) -> None:
    assert encode_head(Response(status), NONE, None, b"").startswith(b"HTTP/1.1 " + line + b"\r\n")


@pytest.mark.parametrize("name", [b"Date", b"date", b"DATE"])
def test_the_date_of_the_origin_stays(name: bytes) -> None:
    for lines in ([(name, b"then")], [(b"A", b"b"), (name, b"then")]):
        head = encode_head(Response(200, Headers.of_lines(lines)), NONE, None, b"")
        assert not DATE.search(head)
        assert head.lower().count(b"date:") == 1


@pytest.mark.parametrize("name", [None, b"X-Update-Date", b"Last-Date", b"Dated", b"A"])
def test_a_response_without_date_gets_one(name: bytes | None) -> None:
    headers = Headers.of_lines([] if name is None else [(name, b"Date: then")])
    assert DATE.search(encode_head(Response(200, headers), NONE, None, b""))


def test_interim_responses_have_only_their_fields() -> None:
    headers = Headers.of([("Link", "</a>")])
    assert encode_interim(103, headers) == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
