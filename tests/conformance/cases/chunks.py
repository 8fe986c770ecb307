"""The chunked coding of request bodies: sizes, extensions, line ends, trailers (RFC 9112, 7.1)."""

from __future__ import annotations

from tests.conformance.case import Case
from tests.conformance.client import bytewise, half_close, half_close_if_silent
from tests.conformance.messages import HELLO, SMUGGLED, chunked
from tests.conformance.outcome import (
    DROPPED,
    MALFORMED,
    forwarded,
    origin_content,
    origin_field,
    origin_lacks,
    origin_targets,
    refused,
    then_refused,
)

_SOURCE = "RFC 9112 section 7.1"
_EXTENSION = "RFC 9112 section 7.1.1"
_TRAILER = "RFC 9110 section 6.5.1"
_FIVE = origin_content(b"hello")
_BAD = (refused(400),)


def _bad(id_: str, title: str, body: bytes, source: str = _SOURCE) -> Case:
    """Return a case that must be refused; the half-close ends it where a proxy waits for more."""
    steps = (chunked(body), half_close_if_silent)
    return Case(f"chunk-{id_}", title, source, steps, MALFORMED, _BAD)


def _good(id_: str, title: str, body: bytes, expected: bytes = b"hello") -> Case:
    outcome = forwarded(origin_content(expected))
    return Case(f"chunk-{id_}", title, _SOURCE, (chunked(body),), (outcome,))


def _either(id_: str, title: str, body: bytes, source: str = _SOURCE) -> Case:
    """Return a case that may be refused or forwarded as it is meant."""
    return Case(f"chunk-{id_}", title, source, (chunked(body),), (forwarded(_FIVE), *MALFORMED))


def _size(id_: str, title: str, size: bytes) -> Case:
    return _bad(f"size-{id_}", title, size + b"\r\nhello\r\n0\r\n\r\n")


_SIZES = (
    _good("several", "several chunks", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    _good("empty", "an empty body", b"0\r\n\r\n", b""),
    _good("upper-hex", "hexadecimal digits in upper case", b"A\r\n0123456789\r\n0\r\n\r\n",
          b"0123456789"),
    _good("lower-hex", "hexadecimal digits in lower case", b"a\r\n0123456789\r\n0\r\n\r\n",
          b"0123456789"),
    _good("leading-zeros", "leading zeros", b"0005\r\nhello\r\n0\r\n\r\n"),
    _good("last-zeros", "a last chunk of several zeros", b"5\r\nhello\r\n000\r\n\r\n"),
    _good("crlf-data", "data that looks like chunks", b"d\r\n\r\n0\r\n\r\n5\r\na\r\n\r\n0\r\n\r\n",
          b"\r\n0\r\n\r\n5\r\na\r\n"),
    _good("large", "one chunk of 300,000 bytes", b"493e0\r\n" + b"x" * 300_000 + b"\r\n0\r\n\r\n",
          b"x" * 300_000),
    _good("tiny", "2,000 chunks of one byte", b"1\r\nx\r\n" * 2000 + b"0\r\n\r\n", b"x" * 2000),
    _either("zeros-40", "forty leading zeros", b"0" * 40 + b"5\r\nhello\r\n0\r\n\r\n"),
    _size("plus", "plus sign", b"+5"),
    _size("minus", "minus sign", b"-5"),
    _size("prefix", "0x in front", b"0x5"),
    _size("h", "h behind", b"5h"),
    _size("underscore", "underscore, as Python's int takes it", b"0_5"),
    _size("letter", "no hexadecimal digit", b"g"),
    _size("empty", "empty", b""),
    _size("fraction", "fraction", b"5.0"),
    _size("leading-space", "space in front", b" 5"),
    _size("two-numbers", "two numbers", b"5 5"),
    _size("comma", "a list", b"5,5"),
    _size("nul", "NUL behind", b"5\x00"),
    _size("vertical-tab", "vertical tab behind", b"5\x0b"),
    _size("non-ascii", "a fullwidth digit",
          "\N{FULLWIDTH DIGIT FIVE}".encode()),
    _size("cr", "CR CR LF behind", b"5\r"),
    _size("overflow-64", "2^64 + 5", b"10000000000000005"),
    _size("overflow-63", "2^63 + 5", b"8000000000000005"),
    _size("overflow-32", "2^32 + 5", b"100000005"),
    _size("max", "2^64 - 1", b"FFFFFFFFFFFFFFFF"),
    _size("long", "forty digits", b"1" * 40),
    _either("size-space-behind", "space behind the size: bad, but harmless",
            b"5 \r\nhello\r\n0\r\n\r\n"),
    _either("size-tab-behind", "tab behind the size", b"5\t\r\nhello\r\n0\r\n\r\n"),
    _bad("last-minus", "last chunk of minus zero", b"5\r\nhello\r\n-0\r\n\r\n"),
    _bad("last-prefix", "last chunk of 0x0", b"5\r\nhello\r\n0x0\r\n\r\n"),
)  # fmt: skip

_LINE_ENDS = (
    _bad("lf-behind-size", "LF alone behind the size", b"5\nhello\r\n0\r\n\r\n"),
    _bad("cr-behind-size", "CR alone behind the size", b"5\rhello\r\n0\r\n\r\n"),
    _bad("lf-behind-data", "LF alone behind the data", b"5\r\nhello\n0\r\n\r\n"),
    _bad("cr-behind-data", "CR alone behind the data", b"5\r\nhello\r0\r\n\r\n"),
    _bad("nothing-behind-data", "nothing behind the data", b"5\r\nhello0\r\n\r\n"),
    _bad("other-behind-data", "two other bytes behind the data", b"5\r\nhelloXX0\r\n\r\n"),
    _bad("data-longer", "data longer than its size", b"3\r\nhello\r\n0\r\n\r\n"),
    _bad("data-shorter", "data shorter than its size", b"6\r\nhello\r\n0\r\n\r\n"),
    _bad("lf-behind-last", "LF alone behind the last chunk's size", b"5\r\nhello\r\n0\n\r\n"),
    _bad("lf-at-end", "LF alone as final line", b"5\r\nhello\r\n0\r\n\n"),
    _bad("lf-only", "LF alone everywhere", b"5\nhello\n0\n\n"),
    _bad("cr-at-end", "CR and another byte at the end", b"5\r\nhello\r\n0\r\n\rX"),
    _bad("no-final-crlf", "a request where the final CRLF belongs",
         b"5\r\nhello\r\n0\r\n" + SMUGGLED),
    *(
        Case(f"chunk-cut-{name}", f"the client leaves {text}", "RFC 9112 section 8",
             (chunked(body), half_close), (DROPPED, refused(400)), responses=0, probe=False)
        for name, text, body in (
            ("at-once", "before the first chunk", b""),
            ("in-size", "within a size", b"5"),
            ("before-data", "behind a size", b"5\r\n"),
            ("in-data", "within the data", b"5\r\nhe"),
            ("behind-data", "behind the data", b"5\r\nhello"),
            ("before-last", "before the last chunk", b"5\r\nhello\r\n"),
            ("behind-last", "before the final CRLF", b"5\r\nhello\r\n0\r\n"),
            ("in-trailer", "within a trailer", b"5\r\nhello\r\n0\r\nX-A: 1"),
        )
    ),
)  # fmt: skip

_EXTENSIONS = (
    _either("ext", "an extension, which ends here", b"5;a=b\r\nhello\r\n0\r\n\r\n", _EXTENSION),
    _either("ext-quoted", "a quoted extension", b'5;a="b;c"\r\nhello\r\n0\r\n\r\n', _EXTENSION),
    _either("ext-spaces", "bad white space around an extension",
            b"5 ; a = b\r\nhello\r\n0\r\n\r\n", _EXTENSION),
    _either("ext-last", "an extension of the last chunk", b"5\r\nhello\r\n0;a\r\n\r\n", _EXTENSION),
    _either("ext-empty", "an extension without a name", b"5;\r\nhello\r\n0\r\n\r\n", _EXTENSION),
    _either("ext-20k", "an extension of 20,000 bytes",
            b"5;" + b"a" * 20_000 + b"\r\nhello\r\n0\r\n\r\n", _EXTENSION),
    _bad("ext-endless", "an extension without end", b"5;" + b"a" * 200_000, _EXTENSION),
    _bad("ext-lf", "LF alone behind an extension", b"5;a\nhello\r\n0\r\n\r\n", _EXTENSION),
    _bad("ext-lf-empty", "LF alone behind a semicolon", b"5;\nhello\r\n0\r\n\r\n", _EXTENSION),
    _bad("ext-lf-inside", "LF within an extension, then CRLF", b"5;a\nxx\r\nhello\r\n0\r\n\r\n",
         _EXTENSION),
    _bad("ext-cr-inside", "CR within an extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n", _EXTENSION),
    _bad("ext-nul", "NUL within an extension", b"5;a\x00\r\nhello\r\n0\r\n\r\n", _EXTENSION),
    _bad("ext-smuggle", "LF in an extension hides a request",
         b"2;\nxx\r\n%x\r\n0\r\n\r\n" % (5 + len(SMUGGLED)) + SMUGGLED + b"\r\n0\r\n\r\n",
         _EXTENSION),
    Case("chunk-many-extensions", "1,000 chunks with extensions", _EXTENSION,
         (chunked(b"1;a=b\r\nx\r\n" * 1000 + b"0\r\n\r\n"),),
         (forwarded(origin_content(b"x" * 1000)), *MALFORMED)),
)  # fmt: skip


def _forbidden(name: str, line: bytes, *needles: bytes) -> Case:
    """Return a case about a trailer that must not count as a header field, nor go on as one."""
    body = b"5\r\nhello\r\n0\r\n" + line + b"\r\n\r\n"
    return Case(
        f"trailer-{name.lower()}", f"trailer {name} must not count as a field", _TRAILER,
        (chunked(body),), (forwarded(_FIVE, origin_lacks(name, *needles)), *MALFORMED),
        (forwarded(_FIVE, origin_lacks(name, *needles)),),
    )  # fmt: skip


_TRAILERS = (
    Case("trailer", "a trailer goes on as one, or is dropped", _TRAILER,
         (chunked(b"5\r\nhello\r\n0\r\nX-A: 1\r\n\r\n", b"Trailer: X-A"),),
         (forwarded(_FIVE, origin_field("X-A", None)),)),
    _forbidden("Content-Length", b"Content-Length: 500", b"500"),
    _forbidden("Transfer-Encoding", b"Transfer-Encoding: gzip", b"gzip"),
    _forbidden("Host", b"Host: evil.test", b"evil"),
    _forbidden("Authorization", b"Authorization: Bearer evil"),
    _forbidden("Cookie", b"Cookie: a=evil"),
    _forbidden("Connection", b"Connection: X-Forwarded-For", b"X-Forwarded-For"),
    _forbidden("X-Forwarded-For", b"X-Forwarded-For: 6.6.6.6", b"6.6.6.6"),
    _forbidden("Forwarded", b"Forwarded: for=6.6.6.6", b"6.6.6.6"),
    _forbidden("Expect", b"Expect: 100-continue"),
    _forbidden("Content-Type", b"Content-Type: text/evil"),
    _bad("trailer-space", "space before a trailer's colon",
         b"5\r\nhello\r\n0\r\nX-A : 1\r\n\r\n", "RFC 9112 section 5.1"),
    _bad("trailer-no-colon", "trailer without a colon", b"5\r\nhello\r\n0\r\nX-A\r\n\r\n"),
    _bad("trailer-empty-name", "trailer without a name", b"5\r\nhello\r\n0\r\n: 1\r\n\r\n"),
    _bad("trailer-nul", "NUL in a trailer", b"5\r\nhello\r\n0\r\nX-A: \x00\r\n\r\n"),
    _bad("trailer-cr", "bare CR in a trailer", b"5\r\nhello\r\n0\r\nX-A: a\rb\r\n\r\n"),
    _bad("trailer-leading-space", "white space before a trailer",
         b"5\r\nhello\r\n0\r\n X-A: 1\r\n\r\n"),
    Case("trailer-bare-lf", "LF alone behind a trailer", "RFC 9112 section 2.2",
         (chunked(b"5\r\nhello\r\n0\r\nX-A: 1\n\r\n"), half_close_if_silent),
         (forwarded(_FIVE), *MALFORMED), _BAD),
    Case("trailer-large", "a trailer of 100,000 bytes", "RFC 6585 section 5",
         (chunked(b"5\r\nhello\r\n0\r\nX-A: " + b"v" * 100_000 + b"\r\n\r\n"),
          half_close_if_silent),
         (refused(400, 413, 431), DROPPED), (refused(400, 431),)),
    Case("trailer-many", "5,000 trailers", "RFC 6585 section 5",
         (chunked(b"5\r\nhello\r\n0\r\n" + b"X-A: 1\r\n" * 5000 + b"\r\n"), half_close_if_silent),
         (refused(400, 413, 431), DROPPED), (refused(400, 431),)),
)  # fmt: skip

_DELIVERY = (
    Case("chunk-bytewise", "a chunked request that comes byte by byte", _SOURCE,
         bytewise(chunked(b"5;a=b\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n")),
         (forwarded(origin_content(b"helloabc")),)),
    Case("chunk-then-request", "another request right behind the last chunk",
         "RFC 9112 section 9.3.2", (chunked(HELLO) + SMUGGLED,),
         (forwarded(origin_targets(b"/t/", b"/t/smuggled"), statuses=(200, 200)),), responses=2),
    Case("chunk-then-garbage", "garbage right behind the last chunk", "RFC 9112 section 9.3.2",
         (chunked(HELLO) + b"\x00\x01\r\n\r\n",), (then_refused(400), forwarded(closed=True)),
         (then_refused(400),), responses=2),
)  # fmt: skip

CASES = (*_SIZES, *_LINE_ENDS, *_EXTENSIONS, *_TRAILERS, *_DELIVERY)
