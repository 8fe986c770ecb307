from __future__ import annotations

from typing import Any

import pytest

from gatewayd.upstream.head import CHUNKED, UNTIL_CLOSE, HeadCache, HeadError, parse_head


def parse(head: bytes, max_fields: int = 10) -> Any:
    return parse_head(head, max_fields)


def with_fields(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"".join(part + b"\r\n" for part in (line, *fields, b""))


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"HTTP/1.1 200 OK", 200),
        (b"HTTP/1.0 599 What", 599),
        (b"HTTP/1.1 100 Continue", 100),
        (b"HTTP/1.1 404", 404),
        (b"HTTP/1.1 404 ", 404),
        (b"HTTP/1.1 404  two  words\t", 404),
        (b"HTTP/1.1 404 caf\xe9", 404),
    ],
)
def test_status_lines(line: bytes, status: int) -> None:
    assert parse(line + b"\r\n\r\n").status == status


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"HTTP/1.1 099 Low",
        b"HTTP/1.1 600 High",
        b"HTTP/1.1 999 High",
        b"HTTP/1.1 20 Short",
        b"HTTP/1.1 2000 Long",
        b"HTTP/1.1 2x0 OK",
        b"HTTP/1.1 -20 OK",
        b"HTTP/1.1 200OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1\t200 OK",
        b"HTTP/1.1 200\tOK",
        b"HTTP/1.1 200 a\x00b",
        b"HTTP/1.1 200 a\x7fb",
        b"HTTP/1.1 200 a\rb",
        b"HTTP/1.1 200 OK\nA: b",
        b"HTTP/0.9 200 OK",
        b"HTTP/1.2 200 OK",
        b"HTTP/1.10 200 OK",
        b"HTTP/2.0 200 OK",
        b"HTTP/2 200 OK",
        b"http/1.1 200 OK",
        b"RTSP/1.0 200 OK",
        b"ICY 200 OK",
        b"GET / HTTP/1.1",
        b"\r\nHTTP/1.1 200 OK",
        b"\nHTTP/1.1 200 OK",
        b" HTTP/1.1 200 OK",
        b"\x16\x03\x01",
    ],
)
def test_bad_status_lines(line: bytes) -> None:
    with pytest.raises(HeadError, match="bad status line"):
        parse(line + b"\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("field", "line"),
    [
        (b"A: b", (b"A", b"b")),
        (b"A:b", (b"A", b"b")),
        (b"A:\t b c \t", (b"A", b"b c")),
        (b"A:", (b"A", b"")),
        (b"A: caf\xe9\xff", (b"A", b"caf\xe9\xff")),
        (b"a!#$%&'*+-.^_`|~0: b:c", (b"a!#$%&'*+-.^_`|~0", b"b:c")),
        (b"Transfer_Encoding: chunked", (b"Transfer_Encoding", b"chunked")),
    ],
)
def test_fields(field: bytes, line: tuple[bytes, bytes]) -> None:
    assert list(parse(with_fields(field)).headers.raw) == [line]


@pytest.mark.parametrize(
    "field",
    [
        b"A : b", b"A\t: b", b" A: b", b"A", b": b", b"A b: c", b"A(: b", b"A\x00: b", b"A\xe9: b",
        b"A: b\x00c", b"A: \x0bb", b"A: b\x7f", b"A: b\rc", b"A: b\nB: c", b"A: b\r\n c",
        b"A: b\r\n\tc", b"Transfer-Encoding : chunked", b"Content-Length : 0",
    ],
)  # fmt: skip
def test_bad_fields(field: bytes) -> None:
    with pytest.raises(HeadError):
        parse(with_fields(field, b"Z: z"))


@pytest.mark.parametrize(
    ("fields", "framing", "declared"),
    [
        ([], UNTIL_CLOSE, None),
        ([b"Content-Length: 0"], 0, 0),
        ([b"content-length:\t007 "], 7, 7),
        ([b"Content-Length: 999999999999999999"], 10**18 - 1, 10**18 - 1),
        ([b"Transfer-Encoding: chunked"], CHUNKED, None),
        ([b"transfer-encoding: CHUNKED\t"], CHUNKED, None),
    ],
    ids=str,
)
def test_framing(fields: list[bytes], framing: int, declared: int | None) -> None:
    head = parse(with_fields(*fields))
    assert (head.framing, head.content_length) == (framing, declared)
    assert len(head.headers) == 0


@pytest.mark.parametrize(
    "fields",
    [
        [b"Content-Length:"],
        [b"Content-Length: +5"],
        [b"Content-Length: -5"],
        [b"Content-Length: 5, 5"],
        [b"Content-Length: 5 5"],
        [b"Content-Length: 0x5"],
        [b"Content-Length: 1_0"],
        [b"Content-Length: 5.0"],
        [b"Content-Length: \xb2"],
        [b"Content-Length: 1000000000000000000"],
        [b"Content-Length: 99999999999999999999"],
        [b"Content-Length: 5", b"Content-Length: 5"],
        [b"Content-Length: 5", b"content-length: 6"],
        [b"Transfer-Encoding:"],
        [b"Transfer-Encoding: identity"],
        [b"Transfer-Encoding: gzip"],
        [b"Transfer-Encoding: xchunked"],
        [b"Transfer-Encoding: chunked;q=1"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding: chunked, identity"],
        [b"Transfer-Encoding: chunked, chunked"],
        [b"Transfer-Encoding: ,chunked"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Content-Length: 5", b"Transfer-Encoding: identity"],
    ],
    ids=str,
)
def test_framing_that_can_be_read_in_two_ways(fields: list[bytes]) -> None:
    with pytest.raises(HeadError):
        parse(with_fields(*fields))


def test_transfer_encoding_does_not_exist_in_http_1_0() -> None:
    with pytest.raises(HeadError, match=r"HTTP/1\.0"):
        parse(with_fields(b"Transfer-Encoding: chunked", line=b"HTTP/1.0 200 OK"))


@pytest.mark.parametrize("status", [b"100", b"103", b"204", b"304"])
@pytest.mark.parametrize("field", [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"A: b"])
def test_what_never_has_a_body(status: bytes, field: bytes) -> None:
    assert parse(with_fields(field, line=b"HTTP/1.1 " + status + b" X")).framing == 0


@pytest.mark.parametrize(
    ("version", "fields", "keep_alive"),
    [
        (b"1.1", [], True),
        (b"1.1", [b"Connection: close"], False),
        (b"1.1", [b"Connection: keep-alive, CLOSE"], False),
        (b"1.1", [b"Connection: x", b"Connection:\tclose "], False),
        (b"1.1", [b"Connection: keep-alive"], True),
        (b"1.0", [], False),
        (b"1.0", [b"Connection: Keep-Alive"], True),
        (b"1.0", [b"Connection: keep-alive, close"], False),
        (b"1.0", [b"Keep-Alive: timeout=5"], False),
    ],
    ids=str,
)
def test_keep_alive(version: bytes, fields: list[bytes], keep_alive: bool) -> None:
    line = b"HTTP/" + version + b" 200 OK"
    assert parse(with_fields(*fields, b"Content-Length: 0", line=line)).keep_alive == keep_alive


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ([b"Connection: X-Hop, a", b"X-HOP: 1", b"A: 2", b"B: 3"], [b"B"]),
        ([b"Connection: x-hop", b"Connection: a", b"X-Hop: 1", b"A: 2"], []),
        ([b"Connection: content-length", b"Content-Length: 0", b"A: 1"], [b"A"]),
        ([b"Keep-Alive: 1", b"Proxy-Connection: 1", b"TE: 1", b"Trailer: 1"], []),
        ([b"Proxy-Authenticate: 1", b"Proxy-Authorization: 1", b"Upgrade: h2c"], []),
        ([b"Set-Cookie: a", b"set-cookie: b"], [b"Set-Cookie", b"set-cookie"]),
    ],
    ids=str,
)
def test_fields_of_this_hop_end_here(fields: list[bytes], left: list[bytes]) -> None:
    assert [name for name, _ in parse(with_fields(*fields)).headers.raw] == left


@pytest.mark.parametrize("value", [b"@", b"a b", b'"close"', b"caf\xe9"])
def test_a_connection_field_names_fields(value: bytes) -> None:
    with pytest.raises(HeadError, match="bad Connection field"):
        parse(with_fields(b"Connection: " + value))


@pytest.mark.parametrize(
    ("line", "fields", "upgrade"),
    [
        (b"HTTP/1.1 101 S", [b"Connection: upgrade", b"Upgrade: WebSocket"], b"websocket"),
        (b"HTTP/1.1 426 U", [b"Connection: Upgrade", b"Upgrade: h2c"], b"h2c"),
        (b"HTTP/1.1 200 OK", [b"Upgrade: websocket"], None),
    ],
    ids=str,
)
def test_upgrades(line: bytes, fields: list[bytes], upgrade: bytes | None) -> None:
    assert parse(with_fields(*fields, line=line)).upgrade == upgrade


def test_a_switch_to_nothing_is_none() -> None:
    with pytest.raises(HeadError):
        parse(b"HTTP/1.1 101 Switching\r\n\r\n")


def test_the_number_of_fields_is_bounded() -> None:
    assert len(parse(with_fields(*[b"A: b"] * 10)).headers) == 10
    with pytest.raises(HeadError, match="more than 10"):
        parse(with_fields(*[b"A: b"] * 11))


END = b"\r\n\r\n"


class TestCache:
    HEAD = with_fields(b"A: b", b"Content-Length: 0").removesuffix(END)

    def test_equal_bytes_are_parsed_once(self) -> None:
        cache = HeadCache(10)
        assert cache.parse(self.HEAD) is cache.parse(bytes(self.HEAD))
        assert cache.parse(self.HEAD.replace(b"b", b"c")).headers.get("A") == "c"

    @pytest.mark.parametrize("field", [b"Set-Cookie: a", b"SET-COOKIE: a", b"A: " + b"x" * 2048])
    def test_what_is_not_kept(self, field: bytes) -> None:
        cache = HeadCache(10)
        head = with_fields(field).removesuffix(END)
        assert cache.parse(head) is not cache.parse(head)

    def test_what_is_bad_is_refused_again_and_again(self) -> None:
        cache = HeadCache(10)
        for _ in range(2):
            with pytest.raises(HeadError):
                cache.parse(with_fields(b"A").removesuffix(END))

    def test_a_cache_is_bounded(self) -> None:
        cache = HeadCache(10)
        for number in range(3 * cache.MAX_HEADS):
            cache.parse(with_fields(b"A: %d" % number).removesuffix(END))
            assert len(cache._heads) <= cache.MAX_HEADS
