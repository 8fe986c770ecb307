from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd import Headers
from gatewayd.body import StreamBody
from gatewayd.http1.framing import (
    ChunkedDecoder,
    CloseDecoder,
    FramingError,
    LengthDecoder,
    encode_chunk,
    encode_last_chunk,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayd.http1.framing import Decoder


def make_body() -> StreamBody:
    def nothing() -> None:
        """Bodies of tests are small, or read as a whole."""

    return StreamBody(None, pause=nothing, resume=nothing)


def take(body: StreamBody) -> bytes:
    """Return what has been fed up to now."""
    try:
        body.read().send(None)
    except StopIteration as end:
        content: bytes = end.value
        return content
    return b""


class Outcome:
    """What came of feeding pieces to a decoder.

    Attributes:
        body: The content.
        rest: What lay behind the end, joined with the pieces that were left; None before the end.
        trailers: Trailer fields.

    """

    def __init__(self, decoder: Decoder, body: StreamBody, pieces: Iterable[bytes]) -> None:
        self.body = b""
        self.rest: bytes | None = None
        for piece in pieces:
            if self.rest is not None:
                self.rest += piece
                continue
            self.rest = decoder.feed(piece)
            if body.ready:
                content = take(body)
                assert content or body.ended  # its reader takes an empty piece for the end
                self.body += content
        self.trailers = None if body.trailers is None else list(body.trailers)
        assert body.ended == (self.rest is not None)


def chunked(*pieces: bytes) -> Outcome:
    body = make_body()
    return Outcome(ChunkedDecoder(body), body, pieces)


def one_by_one(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize("split", [one_by_one, lambda data: [data]], ids=["bytes", "whole"])
@pytest.mark.parametrize(
    ("data", "body", "rest"),
    [
        (b"0\r\n\r\n", b"", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello", b""),
        (b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\nGET /", b"abc", b"GET /"),
        (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
        (b"00002\r\n\r\n\r\n000\r\n\r\n", b"\r\n", b""),
        (b'1;a="b;c" ; d\r\nx\r\n0 \t;\xe9\r\n\r\n', b"x", b""),
        (b"2\r\n0\n\r\n0\r\n\r\n\r\n", b"0\n", b"\r\n"),
        (b"5\r\nhello\r\n0\r\n", b"hello", None),
        (b"5\r\nhel", b"hel", None),
    ],
)  # fmt: skip
def test_chunks(split: object, data: bytes, body: bytes, rest: bytes | None) -> None:
    assert callable(split)
    outcome = chunked(*split(data))
    assert (outcome.body, outcome.rest, outcome.trailers) == (body, rest, None)


@pytest.mark.parametrize("split", [one_by_one, lambda data: [data]], ids=["bytes", "whole"])
@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"g\r\n",
        b"+1\r\na\r\n",
        b"-1\r\n",
        b"0x1\r\na\r\n",
        b" 1\r\na\r\n",
        b"1 \r\na\r\n",
        b"1_0\r\n",
        b"1,1\r\n",
        b"\xb2\r\n",
        b"1\na\r\n",
        b"1\r\na\n",
        b"1\r\na\r0",
        b"1\r\nab\r\n",
        b"1;a\x00\r\na\r\n",
        b"1;a\rb\r\na\r\n",
        b"1 a\r\na\r\n",
        b"f" * 16 + b"\r\n",
        b"0\r\n\n",
        b"0\r\nA\r\n",
        b"0\r\nA : b\r\n",
        b"0\r\n A: b\r\n",
        b"0\r\nA: b\n",
        b"0\r\nA: b\r\n c\r\n",
        b"0\r\nA: \x00\r\n",
        b"0\r\n\rA: b\r\n",
    ],
)
def test_bad_chunks(split: object, data: bytes) -> None:
    assert callable(split)
    with pytest.raises(FramingError):
        chunked(*split(data))


LONG = b"x" * 8192


@pytest.mark.parametrize(
    "data",
    [
        b"1;" + LONG[:1021] + b"\r\n",
        b"1;" + LONG[:1023],
        b"0\r\nA: " + LONG,
        b"0\r\n" + b"".join(b"A: %b\r\n" % LONG[:4092] for _ in range(2)) + b"\r\n",
        b"0\r\n" + b"A: b\r\n" * 65 + b"\r\n",
    ],
    ids=["line", "unfinished line", "unfinished trailer", "trailers in all", "number of trailers"],
)
def test_lines_and_trailers_are_bounded(data: bytes) -> None:
    with pytest.raises(FramingError, match=r"bad|too"):
        chunked(data)


def test_what_is_just_within_the_bounds() -> None:
    assert chunked(b"1;" + LONG[:1020] + b"\r\na\r\n0\r\n\r\n").body == b"a"
    assert len(chunked(b"0\r\n" + b"A: b\r\n" * 64 + b"\r\n").trailers or []) == 64
    assert chunked(b"0\r\nA:" + LONG[:8188] + b"\r\n\r\n").trailers == [("A", "x" * 8188)]


def test_a_huge_chunk_is_only_announced() -> None:
    assert chunked(b"f" * 15 + b"\r\n", b"abc").body == b"abc"


def test_trailers() -> None:
    outcome = chunked(b"0\r\nX-A:  1 \r\nx-a:2\r\nB:\r\n\r\n")
    assert outcome.trailers == [("X-A", "1"), ("x-a", "2"), ("B", "")]


@pytest.mark.parametrize(
    "name",
    ["Content-Length", "transfer-encoding", "HOST", "Authorization", "Set-Cookie", "Trailer", "TE",
     "content_length", "Transfer_Encoding", "Connection", "Cache-Control", "Content-Encoding",
     "Content-Range", "Content-Type", "Cookie", "Date", "Expect", "Expires", "Forwarded",
     "Location", "Max-Forwards", "Pragma", "Range", "Vary", "Via", "WWW-Authenticate"],
)  # fmt: skip
def test_trailers_that_would_change_what_went_before_are_dropped(name: str) -> None:
    outcome = chunked(b"0\r\n" + name.encode() + b": 1\r\nA: 2\r\n\r\n")
    assert outcome.trailers == [("A", "2")]
    assert chunked(b"0\r\n" + name.encode() + b": 1\r\n\r\n").trailers is None


def test_trailers_that_the_gateway_s_own_fields_forbid_are_dropped() -> None:
    body = make_body()
    decoder = ChunkedDecoder(body, frozenset({b"x-user-id"}).__contains__)
    outcome = Outcome(decoder, body, [b"0\r\nX_User.Id: 1\r\nTE: 2\r\n\r\n"])
    assert outcome.trailers == [("TE", "2")]


@given(st.lists(st.binary(max_size=9)), st.data())
def test_a_length_is_kept_however_the_bytes_arrive(
    pieces: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(pieces)
    length = data.draw(st.integers(1, len(whole) + 5))
    body = make_body()
    outcome = Outcome(LengthDecoder(body, length), body, filter(None, pieces))
    assert outcome.body == whole[:length]
    assert outcome.rest == (whole[length:] if len(whole) >= length else None)


def test_what_the_end_of_the_connection_means() -> None:
    for decoder in (LengthDecoder(make_body(), 1), ChunkedDecoder(make_body())):
        assert not decoder.feed_eof()
    body = make_body()
    closing = CloseDecoder(body)
    assert closing.feed(b"a") is None
    assert closing.feed_eof()
    assert body.take_all() == b"a"


@given(st.lists(st.binary(min_size=1)))
def test_what_is_encoded_is_decoded(pieces: list[bytes]) -> None:
    trailers = Headers.of_lines([(b"Sum", b"1")]) if pieces else None
    data = b"".join(map(encode_chunk, pieces)) + encode_last_chunk(trailers)
    outcome = chunked(data)
    assert outcome.body == b"".join(pieces)
    assert outcome.trailers == (None if trailers is None else [("Sum", "1")])
    assert outcome.rest == b""


# An independent reading of RFC 9112 section 7.1, over a message that is there as a whole.
TCHAR = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]"
TEXT = rb"[\t -~\x80-\xff]"
CHUNK = re.compile(rb"([0-9a-fA-F]{1,15})([ \t]*;" + TEXT + rb"*)?\r\n")
TRAILER = re.compile(rb"(" + TCHAR + rb"+):(" + TEXT + rb"*)\r\n")


def reference(data: bytes) -> tuple[bytes, list[tuple[str, str]] | None, bytes] | None:
    """Return content, trailers and what lies behind, None where the message is invalid or cut."""
    body = b""
    while True:
        line = CHUNK.match(data)
        if line is None:
            return None
        data = data[line.end() :]
        size = int(line[1], 16)
        if size == 0:
            break
        if data[size : size + 2] != b"\r\n":
            return None
        body += data[:size]
        data = data[size + 2 :]
    trailers = []
    while (line := TRAILER.match(data)) is not None:
        trailers.append((line[1].decode(), line[2].strip(b" \t").decode("latin-1")))
        data = data[line.end() :]
    return (body, trailers or None, data[2:]) if data[:2] == b"\r\n" else None


SIZE_LINE = st.tuples(
    st.sampled_from([b"", b"0", b"000"]),
    st.sampled_from([b"", b";", b";a=b", b" \t;q=\"x;y\""]),
    st.booleans(),
)  # fmt: skip


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A chunked message, often with a byte that is not what it should be."""
    data = b""
    for content in [*draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4)), b""]:
        zeros, extension, upper = draw(SIZE_LINE)
        size = b"%X" % len(content) if upper else b"%x" % len(content)
        data += zeros + size + extension + b"\r\n" + (content + b"\r\n" if content else b"")
    for name in draw(st.lists(st.sampled_from([b"A", b"X-b", b"~"]), max_size=2)):
        data += name + b": " + draw(st.sampled_from([b"", b"1", b"\t2 ", b"caf\xe9"])) + b"\r\n"
    data += b"\r\n" + draw(st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"0\r\n\r\n"]))
    if draw(st.booleans()):
        position = draw(st.integers(0, len(data) - 1))
        change = draw(st.sampled_from([b"", b"\r", b"\n", b" ", b";", b"0", b"f", b"\x00", b":"]))
        data = data[:position] + change + data[position + draw(st.integers(0, 1)) :]
    return data


@given(messages(), st.lists(st.integers(0, 200), max_size=8))
def test_the_decoder_agrees_with_the_reference_however_the_bytes_arrive(
    data: bytes, cuts: list[int]
) -> None:
    expected = reference(data)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    try:
        outcome = chunked(*filter(None, pieces))
    except FramingError:
        assert expected is None
        return
    if outcome.rest is None:
        assert expected is None
    else:
        assert (outcome.body, outcome.trailers, outcome.rest) == expected
