"""Request header fields: grammar, what goes on byte for byte, limits (RFC 9110, 5; RFC 9112, 5)."""

from __future__ import annotations

from tests.conformance.case import Case
from tests.conformance.messages import request
from tests.conformance.outcome import (
    DROPPED,
    MALFORMED,
    forwarded,
    origin_field,
    origin_has,
    origin_lacks,
    origin_targets,
    refused,
)

_GRAMMAR = "RFC 9112 section 5"
_VALUES = "RFC 9110 section 5.5"
_BAD = (refused(400),)
_WITHOUT = forwarded(origin_lacks("X-A"), text="forwarded without it")


def _name(id_: str, title: str, line: bytes) -> Case:
    """Return a case about a malformed field name: refused, or the field is dropped."""
    return Case(f"name-{id_}", title, _GRAMMAR, (request(line),), (*MALFORMED, _WITHOUT), _BAD)


_NAMES = (
    Case("name-space-before-colon", "space between name and colon", "RFC 9112 section 5.1",
         (request(b"X-A : 1"),), _BAD),
    Case("name-tab-before-colon", "tab between name and colon", "RFC 9112 section 5.1",
         (request(b"X-A\t: 1"),), _BAD),
    Case("name-host-space", "space between `Host` and colon", "RFC 9112 section 5.1",
         (request(host=b"Host : gateway.test"),), _BAD),
    Case("name-leading-space", "white space before the first field line", "RFC 9112 section 2.2",
         (request(host=b" X-A: 1\r\nHost: gateway.test"),), (*MALFORMED, _WITHOUT), _BAD),
    Case("name-leading-tab", "tab before the first field line", "RFC 9112 section 2.2",
         (request(host=b"\tX-A: 1\r\nHost: gateway.test"),), (*MALFORMED, _WITHOUT), _BAD),
    _name("empty", "empty name", b": 1"),
    _name("no-colon", "line without a colon", b"X-A"),
    _name("no-colon-words", "line of words without a colon", b"X-A is 1"),
    _name("space-inside", "space inside the name", b"X A: 1"),
    _name("nul", "NUL in the name", b"X\x00A: 1"),
    _name("cr", "bare CR in the name", b"X\rA: 1"),
    _name("control", "control character in the name", b"X\x01A: 1"),
    _name("del", "DEL in the name", b"X\x7fA: 1"),
    _name("non-ascii", "non-ASCII letter in the name", b"X-\xc3\xa9: 1"),
    _name("latin-1", "Latin-1 letter in the name", b"X-\xe9: 1"),
    _name("parentheses", "parentheses in the name", b"X(A): 1"),
    _name("brackets", "brackets in the name", b"X[A]: 1"),
    _name("quotes", "quotes in the name", b'"X-A": 1'),
    _name("slash", "slash in the name", b"X/A: 1"),
    _name("at", "at sign in the name", b"X@A: 1"),
    _name("comma", "comma in the name", b"X,A: 1"),
    _name("semicolon", "semicolon in the name", b"X;A: 1"),
    _name("equals", "equals sign in the name", b"X=A: 1"),
    Case("name-punctuation", "every punctuation mark that a token may have",
         "RFC 9110 section 5.6.2", (request(b"X-!#$%&'*+.^`|~A: 1"),),
         (forwarded(), refused(400)), (forwarded(origin_field("X-!#$%&'*+.^`|~A", b"1")),)),
    Case("name-case", "names in any case", "RFC 9110 section 5.1",
         (request(b"x-A: 1", host=b"hOST: gateway.test"),),
         (forwarded(origin_field("X-A", b"1"), origin_field("Host", b"gateway.test")),)),
)  # fmt: skip


def _value(id_: str, title: str, value: bytes) -> Case:
    """Return a case about a control that must be refused or replaced by SP."""
    accept = (*MALFORMED, forwarded(text="forwarded without it"))
    return Case(f"value-{id_}", title, _VALUES, (request(b"X-A: " + value),), accept, _BAD)


def _kept(id_: str, title: str, value: bytes, *expected: bytes | None) -> Case:
    checks = origin_field("X-A", *(expected or (value,)))
    return Case(f"value-{id_}", title, _VALUES, (request(b"X-A:" + value),), (forwarded(checks),))


_VALUE_CASES = (
    _value("nul", "NUL in a value", b"a\x00b"),
    _value("nul-at-end", "NUL at the end of a value", b"a\x00"),
    _value("bare-cr", "bare CR in a value", b"a\rb"),
    _value("cr-header", "bare CR and what looks like a field", b"a\rX-B: 1"),
    _value("cr-at-end", "CR CR LF behind a value", b"a\r"),
    _value("control", "control character in a value", b"a\x01b"),
    _value("backspace", "backspace in a value", b"a\x08b"),
    _value("escape", "escape character in a value", b"a\x1b[2Jb"),
    _value("vertical-tab", "vertical tab in a value", b"a\x0bb"),
    _value("form-feed", "form feed in a value", b"a\x0cb"),
    _value("del", "DEL in a value", b"a\x7fb"),
    Case("value-bare-lf", "LF alone as end of a field line", "RFC 9112 section 2.2",
         (request(b"X-A: 1\nX-B: 2"),), (*MALFORMED, forwarded(origin_field("X-B", b"2"))), _BAD),
    Case("value-lf-lf", "LF LF as end of the head", "RFC 9112 section 2.2",
         (request().removesuffix(b"\r\n\r\n") + b"\n\n",), (*MALFORMED, forwarded()), _BAD),
    Case("value-fold", "obs-fold: refused, or one value with spaces", "RFC 9112 section 5.2",
         (request(b"X-A: a\r\n b"),), (*MALFORMED, forwarded(origin_has("X-A", b"a "))), _BAD),
    Case("value-fold-tab", "obs-fold with a tab", "RFC 9112 section 5.2",
         (request(b"X-A: a\r\n\tb"),), (*MALFORMED, forwarded(origin_has("X-A", b"a"))), _BAD),
    Case("value-fold-empty", "obs-fold behind an empty value", "RFC 9112 section 5.2",
         (request(b"X-A:\r\n b"),), (*MALFORMED, forwarded(origin_field("X-A", b"b"))), _BAD),
    Case("value-fold-host", "obs-fold of Host", "RFC 9112 section 5.2",
         (request(host=b"Host:\r\n gateway.test"),),
         (*MALFORMED, forwarded(origin_field("Host", b"gateway.test"))), _BAD),
    Case("value-blank-line", "a line of one space before the end of the head",
         "RFC 9112 section 5.2", (request(b"X-A: 1", b" "),), (*MALFORMED, forwarded()), _BAD),
    _kept("empty", "an empty value", b"", b"", None),
    _kept("no-space", "no white space behind the colon", b"a"),
    _kept("padded", "white space around a value is not part of it", b" \t a \t ", b"a"),
    _kept("inner-space", "white space within a value stays", b"a \t b"),
    _kept("latin-1", "obs-text goes on byte for byte", b"\xe9\xff\x80"),
    _kept("utf-8", "UTF-8 goes on byte for byte", "Grüße, 世界".encode()),
    _kept("colons", "colons in a value", b":a:b:"),
    _kept("quoted", "a quoted string with escapes", rb'"a, \"b\" \\c"'),
    _kept("long", "a value of 7,000 bytes", b"v" * 7000),
    Case("lines-order", "lines of one name keep their order", "RFC 9110 section 5.3",
         (request(b"X-A: 1", b"X-B: 0", b"X-A: 2", b"x-a: 3"),),
         (forwarded(origin_field("X-A", b"1, 2, 3", b"1,2,3")),)),
    Case("cookie", "Cookie goes on untouched", "RFC 6265 section 5.4",
         (request(b'Cookie: a=1; b="2,3"; a=4'),),
         (forwarded(origin_field("Cookie", b'a=1; b="2,3"; a=4')),)),
    Case("authorization", "Authorization goes on untouched", "RFC 9110 section 11.6.2",
         (request(b"Authorization: Bearer a.b.c=="),),
         (forwarded(origin_field("Authorization", b"Bearer a.b.c==")),)),
    Case("referer", "Referer with what looks like a request", "RFC 9110 section 10.1.3",
         (request(b"Referer: http://a/ GET /t/x HTTP/1.1"),),
         (forwarded(origin_targets(b"/t/")),)),
)  # fmt: skip

_LARGE = (refused(400, 413, 431), DROPPED)
_OURS_LARGE = (refused(431),)

_LIMITS = (
    Case("limit-value", "one field of 70,000 bytes", "RFC 6585 section 5",
         (request(b"X-A: " + b"v" * 70_000),), _LARGE, _OURS_LARGE),
    Case("limit-name", "a name of 70,000 bytes", "RFC 6585 section 5",
         (request(b"X" * 70_000 + b": 1"),), _LARGE, _OURS_LARGE),
    Case("limit-total", "a head of 70,000 bytes in 70 fields", "RFC 6585 section 5",
         (request(*(b"X-%d: " % number + b"v" * 1000 for number in range(70))),), _LARGE,
         _OURS_LARGE),
    Case("limit-count", "1,000 small fields", "RFC 6585 section 5",
         (request(*(b"X-%d: 1" % number for number in range(1000))),),
         (*_LARGE, forwarded()), _OURS_LARGE),
    Case("limit-count-same", "1,000 lines of one name", "RFC 6585 section 5",
         (request(*(b"X-A: 1",) * 1000),), (*_LARGE, forwarded()), _OURS_LARGE),
    Case("limit-endless", "a field line that never ends", "RFC 6585 section 5",
         (request().removesuffix(b"\r\n") + b"X-A: " + b"v" * 200_000,), _LARGE, _OURS_LARGE),
    Case("limit-below", "90 fields", "RFC 9110 section 5.4",
         (request(*(b"X-%d: 1" % number for number in range(90))),),
         (forwarded(origin_field("X-89", b"1")),)),
)  # fmt: skip

_UNDERSCORES = (
    Case("underscore-forwarded-for", "X_Forwarded_For is X-Forwarded-For to a CGI",
         "RFC 3875 section 4.1.18", (request(b"X_Forwarded_For: 6.6.6.6"),),
         (forwarded(origin_lacks("X-Forwarded-For", b"6.6.6.6")), *MALFORMED)),
    Case("underscore-forwarded-proto", "X_Forwarded_Proto likewise", "RFC 3875 section 4.1.18",
         (request(b"X_Forwarded_Proto: https"),),
         (forwarded(origin_lacks("X-Forwarded-Proto", b"https")), *MALFORMED)),
    Case("underscore-mixed", "X-Real_IP likewise", "RFC 3875 section 4.1.18",
         (request(b"X-Real_IP: 6.6.6.6"),),
         (forwarded(origin_lacks("X-Real-IP", b"6.6.6.6")), *MALFORMED)),
    Case("underscore-identity", "X_User_Id is X-User-Id to a CGI", "RFC 3875 section 4.1.18",
         (request(b"X_User_Id: root"),), (forwarded(origin_lacks("X-User-Id")), *MALFORMED),
         gatewayd_only=True),
    Case("underscore-content-length", "Content_Length is no Content-Length",
         "RFC 9112 section 6.2", (request(b"Content_Length: 500"),), (forwarded(), *MALFORMED)),
    Case("underscore-innocent", "X_A, an innocent name with underscores", "RFC 9110 section 5.1",
         (request(b"X_A: 1"),), (forwarded(), *MALFORMED), (forwarded(),)),
)  # fmt: skip

CASES = (*_NAMES, *_VALUE_CASES, *_LIMITS, *_UNDERSCORES)
