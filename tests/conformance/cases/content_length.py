"""Content-Length: one reading for everybody, or none (RFC 9110 section 8.6, RFC 9112 section 6)."""

from __future__ import annotations

from tests.conformance.case import Case
from tests.conformance.client import half_close, half_close_if_silent
from tests.conformance.messages import SMUGGLED, post, request, sized
from tests.conformance.outcome import (
    DROPPED,
    MALFORMED,
    forwarded,
    origin_content,
    origin_field,
    origin_methods,
    refused,
    then_refused,
)

_INVALID = "RFC 9112 section 6.3"
_REPEATED = "RFC 9110 section 8.6"
_FIVE = origin_content(b"hello")


def _invalid(id_: str, title: str, *lines: bytes) -> Case:
    """Return a case of an unrecoverable error: a server MUST respond with 400 and close."""
    return Case(
        f"cl-{id_}", title, _INVALID, (post(*lines, body=b"hello"),), MALFORMED, (refused(400),)
    )


def _value(id_: str, title: str, value: bytes) -> Case:
    return _invalid(id_, title, b"Content-Length: " + value)


def _lenient(id_: str, title: str, *lines: bytes) -> Case:
    """Return a case that may be refused or forwarded with the one length it means."""
    steps = (post(*lines, body=b"hello"),)
    return Case(f"cl-{id_}", title, _REPEATED, steps, (*MALFORMED, forwarded(_FIVE)))


_VALUES = (
    _lenient("twice-same", "two equal lines", b"Content-Length: 5", b"Content-Length: 5"),
    _lenient("list-same", "a list of equal values", b"Content-Length: 5, 5"),
    _lenient("list-three", "a list of three equal values", b"Content-Length: 5,5 ,5"),
    _lenient("leading-zeros", "leading zeros", b"Content-Length: 0000000005"),
    _lenient("zeros-30", "thirty leading zeros", b"Content-Length: " + b"0" * 30 + b"5"),
    _lenient("padded", "white space around", b"Content-Length:  \t5\t "),
    _lenient("name-case", "name in odd case", b"cONTENT-lENGTH: 5"),
    _invalid("twice-different", "two different lines", b"Content-Length: 5",
             b"Content-Length: 6"),
    _invalid("twice-zero", "zero and another", b"Content-Length: 0", b"Content-Length: 5"),
    _invalid("twice-name-case", "two different, names in different case", b"Content-Length: 5",
             b"content-length: 3"),
    _invalid("one-good-one-bad", "a number and a word", b"Content-Length: 5",
             b"Content-Length: x"),
    _invalid("one-good-one-empty", "a number and nothing", b"Content-Length: 5",
             b"Content-Length:"),
    _value("list-different", "a list of different values", b"5, 6"),
    _value("list-last-differs", "a list whose last value differs", b"5, 5, 6"),
    _value("list-empty-element", "a list that ends with a comma", b"5,"),
    _value("list-empty-first", "a list that starts with a comma", b",5"),
    _value("plus", "plus sign", b"+5"),
    _value("minus", "minus sign", b"-5"),
    _value("minus-zero", "minus zero", b"-0"),
    _value("hexadecimal", "hexadecimal", b"0x5"),
    _value("octal", "octal prefix", b"0o5"),
    _value("letter-behind", "letter behind the digits", b"5a"),
    _value("two-numbers", "two numbers", b"5 5"),
    _value("tab-between", "two digits with a tab between", b"0\t5"),
    _value("fraction", "fraction", b"5.0"),
    _value("exponent", "exponent", b"5e0"),
    _value("underscore", "underscore between digits, as Python's int takes it", b"0_5"),
    _value("word", "a word", b"five"),
    _value("quoted", "quoted", b'"5"'),
    _value("parameter", "a parameter", b"5;a=b"),
    _value("empty", "empty", b""),
    _value("vertical-tab-before", "vertical tab in front", b"\x0b5"),
    _value("vertical-tab-behind", "vertical tab behind", b"5\x0b"),
    _value("form-feed-behind", "form feed behind", b"5\x0c"),
    _value("nul-behind", "NUL behind", b"5\x00"),
    _value("next-line", "Latin-1 NEL behind, which strip() removes", b"5\x85"),
    _value("no-break-space", "Latin-1 no-break space in front", b"\xa05"),
    _value("fullwidth", "a fullwidth digit, which isdigit() accepts",
           "\N{FULLWIDTH DIGIT FIVE}".encode()),
    _value("superscript", "a superscript digit", b"\xb2"),
    _value("overflow-64", "2^64 + 5", b"18446744073709551621"),
    _value("overflow-32-zeros", "a number of 100 digits", b"1" * 100),
    _invalid("space-before-colon", "space before the colon", b"Content-Length : 5"),
    _invalid("tab-before-colon", "tab before the colon", b"Content-Length\t: 5"),
    _invalid("nul-in-name", "NUL in the name", b"Content-Length\x00: 5"),
    Case("cl-fold", "obs-fold", "RFC 9112 section 5.2",
         (post(b"Content-Length:\r\n 5", body=b"hello"),), (*MALFORMED, forwarded(_FIVE)),
         (refused(400),)),
    Case("cl-fold-digits", "obs-fold between two digits", "RFC 9112 section 5.2",
         (post(b"Content-Length: 0\r\n 5", body=b"hello"),), MALFORMED, (refused(400),)),
    Case("cl-bare-lf", "LF alone behind it", "RFC 9112 section 2.2",
         (post(b"Content-Length: 5\nX-A: 1", body=b"hello"),), (*MALFORMED, forwarded(_FIVE)),
         (refused(400),)),
    Case("cl-hidden-by-cr", "hidden behind a bare CR", "RFC 9112 section 2.2",
         (post(b"X-A: 1\rContent-Length: 5", body=b"hello"),), MALFORMED, (refused(400),)),
    *(
        Case(f"cl-too-large-{name}", f"{text}: more than any body may have",
             "RFC 9110 section 15.5.14",
             (post(b"Content-Length: " + value, body=b"hello"), half_close_if_silent),
             (refused(400, 413), DROPPED), (refused(413),))
        for name, text, value in (
            ("10g", "10 GB", b"10000000000"), ("2e31", "2^31", b"2147483648"),
            ("2e32", "2^32 + 5", b"4294967301"), ("1e18", "a number of 18 digits", b"9" * 18),
        )
    ),
    Case("cl-2e63", "2^63", _INVALID,
         (post(b"Content-Length: 9223372036854775808", body=b"hello"),
          half_close_if_silent),
         (refused(400, 413), DROPPED), (refused(400, 413),)),
)  # fmt: skip

_BODIES = (
    Case("cl-post", "POST with a body", _REPEATED, (sized(b"hello"),), (forwarded(_FIVE),)),
    Case("cl-zero", "POST with an empty body", _REPEATED, (sized(b""),),
         (forwarded(origin_content(b""), origin_field("Content-Length", b"0")),)),
    Case("cl-none-post", "POST without any length has no body", _INVALID, (post(),),
         (forwarded(origin_content(b"")), refused(411)), (forwarded(origin_content(b"")),)),
    Case("cl-1.0", "POST of HTTP/1.0", "RFC 9112 section 6.3",
         (request(b"Content-Length: 5", method=b"POST", version=b"HTTP/1.0", body=b"hello"),),
         (forwarded(_FIVE, closed=True),)),
    *(
        Case(f"cl-{method.lower()}-body", f"{method} with a body", "RFC 9110 section 9.3",
             (sized(b"hello", method=method.encode()),),
             (forwarded(_FIVE, origin_methods(method.encode())), refused(400, 413)),
             (forwarded(_FIVE, origin_methods(method.encode())),),
             methods=(method,))
        for method in ("GET", "HEAD", "DELETE", "OPTIONS")
    ),
    Case("cl-body-is-request", "a body that looks like a request stays a body", _INVALID,
         (sized(SMUGGLED),), (forwarded(origin_content(SMUGGLED)),)),
    Case("cl-get-body-is-request", "likewise with GET", _INVALID,
         (sized(SMUGGLED, method=b"GET"),),
         (forwarded(origin_content(SMUGGLED)), refused(400, 413)),
         (forwarded(origin_content(SMUGGLED)),)),
    Case("cl-body-is-chunked", "a body that looks chunked stays as it is", _INVALID,
         (sized(b"0\r\n\r\n" + SMUGGLED),),
         (forwarded(origin_content(b"0\r\n\r\n" + SMUGGLED)),)),
    Case("cl-short", "a body longer than it says: what is behind is no request", _INVALID,
         (post(b"Content-Length: 3", body=b"hel\x00lo\r\n\r\n"),),
         (then_refused(400), forwarded(origin_content(b"hel"), closed=True)),
         (then_refused(400),), responses=2),
    Case("cl-long", "a body shorter than it says, then the end: not a whole request",
         "RFC 9112 section 8", (post(b"Content-Length: 9", body=b"hello"), half_close),
         (DROPPED, refused(400)), responses=0, probe=False),
    Case("cl-binary", "a body of all byte values", _REPEATED, (sized(bytes(range(256)) * 40),),
         (forwarded(origin_content(bytes(range(256)) * 40)),)),
)  # fmt: skip

CASES = (*_VALUES, *_BODIES)
