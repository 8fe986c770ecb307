"""Framing of responses from an origin that is broken or malicious (RFC 9112 sections 6 and 7).

What a gateway can't be sure of, the client must not take for a whole response: 502 where nothing
has been sent yet, and a visible break where something has. Bytes behind a response must never reach
anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.case import Case
from tests.conformance.client import (
    opens,
    until_content,
    until_origin_has,
    until_responses,
    until_upstream_closed,
)
from tests.conformance.messages import request
from tests.conformance.origin import answer, body, close, gate, reset
from tests.conformance.outcome import (
    ABORTED,
    UNANSWERED,
    bad_gateway,
    client_field,
    client_has,
    content,
    forwarded,
    order,
    served_and_closed,
)

if TYPE_CHECKING:
    from tests.conformance.case import Outcome
    from tests.conformance.client import Step
    from tests.conformance.origin import Part

_SOURCE = "RFC 9112 section 6.3"
_OK, _HELLO = content(b"ok"), content(b"hello")
_BROKEN = (bad_gateway(500, 502, 503), ABORTED, UNANSWERED)
_OURS_BROKEN = (bad_gateway(), ABORTED)
_CHUNKED = b"Transfer-Encoding: chunked"
_EVIL = b"HTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 4\r\n\r\nevil"


def _reply(
    id_: str,
    title: str,
    *parts: Part,
    accept: tuple[Outcome, ...] = _BROKEN,
    ours: tuple[Outcome, ...] | None = None,
    source: str = _SOURCE,
    steps: tuple[Step, ...] = (request(),),
    methods: tuple[str, ...] = (),
) -> Case:
    """Return a case of a response; it must not be taken for a whole one unless told otherwise."""
    chosen = _OURS_BROKEN if ours is None and accept is _BROKEN else ours
    replies = ((body, *parts),) * 3  # a request that got no response may come again
    return Case(f"response-{id_}", title, source, steps, accept, chosen, replies, methods)


def _raw(content: bytes, *lines: bytes) -> bytes:
    return answer(content, *lines, length=False)


def _length(id_: str, title: str, *values: bytes) -> Case:
    """Return a case of an unrecoverable length: a gateway MUST send 502 and close upstream."""
    lines = tuple(b"Content-Length: " + value for value in values)
    return _reply(f"cl-{id_}", title, _raw(b"hello", *lines), close, ours=(bad_gateway(),))


_LENGTHS = (
    _length("twice-different", "two different lengths", b"5", b"6"),
    _length("list-different", "a list of different lengths", b"5, 6"),
    _length("plus", "plus sign", b"+5"),
    _length("minus", "minus sign", b"-5"),
    _length("hexadecimal", "hexadecimal", b"0x5"),
    _length("letter", "letter behind", b"5a"),
    _length("two-numbers", "two numbers", b"5 5"),
    _length("empty", "empty", b""),
    _length("vertical-tab", "vertical tab behind", b"5\x0b"),
    _length("next-line", "Latin-1 NEL behind", b"5\x85"),
    _length("nul", "NUL behind", b"5\x00"),
    _length("underscore", "underscore", b"0_5"),
    _length("fullwidth", "fullwidth digit", "\N{FULLWIDTH DIGIT FIVE}".encode()),
    _length("overflow", "2^64 + 5", b"18446744073709551621"),
    _length("100-digits", "100 digits", b"1" * 100),
    _reply("cl-twice-same", "two equal lengths: one, or refused",
           _raw(b"hello", b"Content-Length: 5", b"Content-Length: 5"),
           accept=(forwarded(_HELLO, client_field("Content-Length", b"5", None)), *_BROKEN)),
    _reply("cl-list-same", "a list of equal lengths", _raw(b"hello", b"Content-Length: 5, 5"),
           accept=(forwarded(_HELLO, client_field("Content-Length", b"5", None)), *_BROKEN)),
    _reply("cl-leading-zeros", "leading zeros", _raw(b"hello", b"Content-Length: 0005"),
           accept=(forwarded(_HELLO), *_BROKEN)),
    _reply("cl-space-before-colon", "space before the colon",
           _raw(b"hello", b"Content-Length : 5"), close, accept=(forwarded(_HELLO), *_BROKEN),
           ours=(bad_gateway(),), source="RFC 9112 section 5.1"),
    _reply("cl-zero", "length 0", answer(b""), accept=(forwarded(content(b"")),)),
    _reply("cl-short", "the connection closes before the length is reached",
           _raw(b"hello", b"Content-Length: 9"), close, source="RFC 9112 section 8"),
    _reply("cl-reset", "the connection is reset within the body",
           _raw(b"hello", b"Content-Length: 9"), gate("reset"), reset,
           steps=(request(), until_content(b"hello"), opens("reset")), accept=(ABORTED,),
           source="RFC 9112 section 8"),
    _reply("cl-long", "bytes behind the length reach nobody", _raw(b"hello", b"Content-Length: 2"),
           accept=(forwarded(content(b"he")), bad_gateway())),
    _reply("cl-smuggle", "a second response behind the first reaches nobody", answer(b"ok") + _EVIL,
           accept=(forwarded(_OK), bad_gateway()), source="RFC 9112 section 6.3"),
    _reply("cl-smuggle-later", "a response that comes when nobody asked reaches nobody",
           answer(b"ok"), gate("evil"), _EVIL,
           steps=(request(), until_responses(1), opens("evil"), until_upstream_closed),
           accept=(forwarded(_OK),)),
    _reply("cl-zero-smuggle", "a second response behind an empty one", answer(b"") + _EVIL,
           accept=(forwarded(content(b"")), bad_gateway())),
    _reply("cl-garbage", "garbage behind a response", answer(b"ok") + b"\r\n\x00\x01garbage",
           accept=(forwarded(_OK), bad_gateway())),
    _reply("cl-crlf", "an extra CRLF behind a response", answer(b"ok") + b"\r\n",
           accept=(forwarded(_OK), bad_gateway())),
)  # fmt: skip


def _coding(id_: str, title: str, *lines: bytes) -> Case:
    """Return a case of a coding that is not exactly chunked: refused, or read to the end."""
    raw = _raw(b"5\r\nhello\r\n0\r\n\r\n", *lines)
    accept = (*_BROKEN, forwarded(text="read until the connection closed"))
    return _reply(f"te-{id_}", title, raw, close, accept=accept, ours=(bad_gateway(),))


_NAME = b"Transfer-Encoding: "
_CODINGS = (
    _reply("te-chunked", "chunked", _raw(b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", _CHUNKED),
           accept=(forwarded(_HELLO),)),
    _reply("te-case", "chunked in odd case", _raw(b"5\r\nhello\r\n0\r\n\r\n", _NAME + b"ChunKED"),
           accept=(forwarded(_HELLO), *_BROKEN), ours=(forwarded(_HELLO),)),
    _reply("te-and-length", "both lengths: chunked wins, or refused",
           _raw(b"5\r\nhello\r\n0\r\n\r\n", _CHUNKED, b"Content-Length: 3"), close,
           accept=(forwarded(_HELLO), *_BROKEN)),
    _reply("te-and-length-smuggle", "both lengths hide a response",
           _raw(b"0\r\n\r\n" + _EVIL, _CHUNKED, b"Content-Length: %d" % (5 + len(_EVIL))),
           accept=(forwarded(content(b"")), *_BROKEN)),
    _coding("xchunked", "xchunked", _NAME + b"xchunked"),
    _coding("identity", "identity", _NAME + b"identity"),
    _coding("chunked-identity", "chunked, identity", _NAME + b"chunked, identity"),
    _coding("gzip", "gzip", _NAME + b"gzip"),
    _coding("gzip-chunked", "gzip, chunked", _NAME + b"gzip, chunked"),
    _coding("chunked-chunked", "chunked twice", _NAME + b"chunked, chunked"),
    _coding("two-lines", "chunked on two lines", _CHUNKED, _CHUNKED),
    _coding("empty", "empty", b"Transfer-Encoding:"),
    _coding("vertical-tab", "vertical tab in front", _NAME + b"\x0bchunked"),
    _coding("space-before-colon", "space before the colon", b"Transfer-Encoding : chunked"),
    _reply("te-1.0", "chunked in HTTP/1.0: faulty framing",
           b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", close,
           accept=(forwarded(_HELLO), *_BROKEN,
                   forwarded(content(b"5\r\nhello\r\n0\r\n\r\n"))),
           source="RFC 9112 section 6.1"),
)  # fmt: skip


def _chunks(id_: str, title: str, raw: bytes) -> Case:
    """Return a case of a malformed chunked body."""
    return _reply(f"chunk-{id_}", title, _raw(raw, _CHUNKED), close, source="RFC 9112 section 7.1")


_CHUNKS = (
    _chunks("size-letter", "a size that is none", b"5\r\nhello\r\nx\r\n\r\n"),
    _chunks("size-first", "the first size is none", b"hello"),
    _chunks("size-minus", "negative size", b"-5\r\nhello\r\n0\r\n\r\n"),
    _chunks("size-prefix", "0x in front", b"0x5\r\nhello\r\n0\r\n\r\n"),
    _chunks("size-overflow", "2^64 + 5", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    _chunks("size-empty", "empty size", b"\r\nhello\r\n0\r\n\r\n"),
    _chunks("lf-size", "LF alone behind a size", b"5\nhello\r\n0\r\n\r\n"),
    _chunks("lf-data", "LF alone behind the data", b"5\r\nhello\n0\r\n\r\n"),
    _chunks("no-crlf", "nothing behind the data", b"5\r\nhello0\r\n\r\n"),
    _chunks("longer", "data longer than its size", b"3\r\nhello\r\n0\r\n\r\n"),
    _chunks("cut-size", "the end within a size", b"5\r\nhello\r\n1"),
    _chunks("cut-data", "the end within the data", b"5\r\nhel"),
    _chunks("cut-before-last", "the end before the last chunk", b"5\r\nhello\r\n"),
    _chunks("cut-trailer", "the end before the final CRLF", b"5\r\nhello\r\n0\r\n"),
    _chunks("ext-lf", "LF in an extension", b"5;a\nhello\r\n0\r\n\r\n"),
    _chunks("trailer-bad", "a malformed trailer", b"5\r\nhello\r\n0\r\nX A: 1\r\n\r\n"),
    _chunks("trailer-large", "a trailer of 200,000 bytes",
            b"5\r\nhello\r\n0\r\nX-A: " + b"v" * 200_000 + b"\r\n\r\n"),
    _reply("chunk-ext", "an extension ends here", _raw(b"5;a=b\r\nhello\r\n0\r\n\r\n", _CHUNKED),
           accept=(forwarded(_HELLO),), source="RFC 9112 section 7.1.1"),
    _reply("chunk-trailer", "a trailer goes on as one, or is dropped",
           _raw(b"5\r\nhello\r\n0\r\nX-A: 1\r\n\r\n", _CHUNKED, b"Trailer: X-A"),
           accept=(forwarded(_HELLO, client_field("X-A", None)),),
           source="RFC 9110 section 6.5.1"),
    _reply("chunk-trailer-forbidden", "forbidden trailers do not count",
           _raw(b"5\r\nhello\r\n0\r\nContent-Length: 99\r\nSet-Cookie: a=evil\r\n\r\n", _CHUNKED),
           accept=(forwarded(_HELLO, client_field("Set-Cookie", None)),
                   *_BROKEN), ours=(forwarded(_HELLO, client_field("Set-Cookie", None)),),
           source="RFC 9110 section 6.5.1"),
    _reply("chunk-smuggle", "a response behind the last chunk reaches nobody",
           _raw(b"5\r\nhello\r\n0\r\n\r\n", _CHUNKED) + _EVIL,
           accept=(forwarded(_HELLO), bad_gateway())),
    _reply("chunk-reset", "the connection is reset between chunks",
           _raw(b"5\r\nhello\r\n", _CHUNKED), gate("reset"), reset,
           steps=(request(), until_content(b"hello"), opens("reset")), accept=(ABORTED,),
           source="RFC 9112 section 8"),
)  # fmt: skip

_UNTIL_CLOSE = (
    _reply("close", "no length: the body ends with the connection", _raw(b"hello"), close,
           accept=(forwarded(_HELLO),)),
    _reply("close-empty", "an empty body without length", _raw(b""), close,
           accept=(forwarded(content(b"")),)),
    _reply("close-1.0", "HTTP/1.0 without length", b"HTTP/1.0 200 OK\r\n\r\nhello", close,
           accept=(forwarded(_HELLO),)),
    _reply("close-reset", "no length, then a reset: not known to be whole", _raw(b"hello"),
           gate("reset"), reset, accept=(ABORTED,),
           steps=(request(), until_content(b"hello"), opens("reset")),
           source="RFC 9112 section 8"),
    _reply("close-to-1.0", "chunked, to a client of HTTP/1.0: no chunks for it",
           _raw(b"5\r\nhello\r\n0\r\n\r\n", _CHUNKED),
           steps=(request(version=b"HTTP/1.0"),),
           accept=(served_and_closed(1, _HELLO, client_field("Transfer-Encoding", None)),),
           source="RFC 9112 section 6.1"),
    _reply("close-to-1.0-keep-alive", "likewise with keep-alive: closed all the same",
           _raw(b"5\r\nhello\r\n0\r\n\r\n", _CHUNKED),
           steps=(request(b"Connection: keep-alive", version=b"HTTP/1.0"),),
           accept=(forwarded(_HELLO, client_field("Transfer-Encoding", None)),),
           source="RFC 9112 section 6.1"),
)  # fmt: skip

_EMPTY = content(b"")
_BODILESS = (
    _reply("204", "204", answer(b"", status=b"204 No Content", length=False),
           accept=(forwarded(_EMPTY, statuses=(204,)),)),
    _reply("204-length", "204 with Content-Length: none goes on",
           answer(b"", b"Content-Length: 5", status=b"204 No Content", length=False),
           accept=(forwarded(_EMPTY, client_field("Content-Length", None), statuses=(204,)),
                   bad_gateway()), source="RFC 9110 section 8.6"),
    _reply("204-chunked", "204 with Transfer-Encoding: none goes on",
           answer(b"", _CHUNKED, status=b"204 No Content", length=False),
           accept=(forwarded(_EMPTY, client_field("Transfer-Encoding", None), statuses=(204,)),
                   bad_gateway()), source="RFC 9112 section 6.1"),
    _reply("204-body", "204 with a body, which is nobody's",
           answer(b"hello", status=b"204 No Content"),
           accept=(forwarded(_EMPTY, statuses=(204,)), bad_gateway())),
    _reply("204-smuggle", "204 with a response as body",
           answer(_EVIL, status=b"204 No Content"),
           accept=(forwarded(_EMPTY, statuses=(204,)), bad_gateway())),
    _reply("304", "304 with the length of what is not sent",
           answer(b"", b"Content-Length: 500", b'ETag: "a"', status=b"304 Not Modified",
                  length=False),
           accept=(forwarded(_EMPTY, client_field("ETag", b'"a"'), statuses=(304,)),)),
    _reply("304-body", "304 with a body, which is nobody's",
           answer(b"hello", status=b"304 Not Modified"),
           accept=(forwarded(_EMPTY, statuses=(304,)), bad_gateway())),
    _reply("304-chunked", "304 with Transfer-Encoding",
           answer(b"", _CHUNKED, status=b"304 Not Modified", length=False),
           accept=(forwarded(_EMPTY, statuses=(304,)), bad_gateway())),
    _reply("205", "205 with a length of 0", answer(b"", status=b"205 Reset Content"),
           accept=(forwarded(_EMPTY, statuses=(205,)),), source="RFC 9110 section 15.3.6"),
    _reply("head", "HEAD: length, no body", answer(b"", b"Content-Length: 500", length=False),
           steps=(request(method=b"HEAD"),), methods=("HEAD",),
           accept=(forwarded(_EMPTY, client_field("Content-Length", b"500")),),
           source="RFC 9110 section 9.3.2"),
    _reply("head-chunked", "HEAD: chunked, no body", _raw(b"", _CHUNKED),
           steps=(request(method=b"HEAD"),), methods=("HEAD",), accept=(forwarded(_EMPTY),),
           source="RFC 9110 section 9.3.2"),
    _reply("head-no-length", "HEAD: no length, no body", _raw(b""),
           steps=(request(method=b"HEAD"),), methods=("HEAD",), accept=(forwarded(_EMPTY),),
           source="RFC 9110 section 9.3.2"),
    _reply("head-body", "HEAD: the origin sends a body all the same", answer(b"hello"),
           steps=(request(method=b"HEAD"),), methods=("HEAD",),
           accept=(forwarded(_EMPTY), bad_gateway()), source="RFC 9110 section 9.3.2"),
    _reply("head-smuggle", "HEAD: the body is a response", answer(_EVIL),
           steps=(request(method=b"HEAD"),), methods=("HEAD",),
           accept=(forwarded(_EMPTY), bad_gateway()), source="RFC 9110 section 9.3.2"),
    _reply("head-304", "HEAD: 304", answer(b"", b"Content-Length: 500", length=False,
                                            status=b"304 Not Modified"),
           steps=(request(method=b"HEAD"),), methods=("HEAD",),
           accept=(forwarded(_EMPTY, statuses=(304,)),), source="RFC 9110 section 9.3.2"),
    _reply("head-date", "HEAD: Date is added", answer(b"", b"Content-Length: 5", length=False),
           steps=(request(method=b"HEAD"),), methods=("HEAD",),
           accept=(forwarded(client_has("Date")),), source="RFC 9110 section 6.6.1"),
)  # fmt: skip

_SAME_HEAD = answer(b"", b"Content-Length: 2", length=False)

_DESYNC = (
    Case("response-same-head", "the same head for GET, HEAD and GET: each has its own framing",
         _SOURCE,
         (request(), until_responses(1), request(method=b"HEAD"), until_responses(2), request()),
         (forwarded(order(b"ok", b"", b"no"), statuses=(200, 200, 200)),),
         replies=((body, _SAME_HEAD + b"ok"), (body, _SAME_HEAD), (body, _SAME_HEAD + b"no")),
         methods=("GET", "HEAD", "GET"), responses=3),
    Case("response-queue", "two pipelined requests, two responses at once: no mix-up", _SOURCE,
         (request(target=b"/t/a") + request(target=b"/t/b"), until_origin_has(1)),
         (forwarded(order(b"ok", b"GET /t/b"), statuses=(200, 200)),),
         replies=((body, answer(b"ok") + _EVIL),), responses=2),
)  # fmt: skip

CASES = (*_LENGTHS, *_CODINGS, *_CHUNKS, *_UNTIL_CLOSE, *_BODILESS, *_DESYNC)
