"""Heads of responses from an origin that is broken or malicious (RFC 9112 sections 4 and 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.case import Case
from tests.conformance.client import opens, until_interim, until_origin_has
from tests.conformance.messages import request
from tests.conformance.origin import answer, body, close, gate, reset
from tests.conformance.outcome import (
    ABORTED,
    UNANSWERED,
    bad_gateway,
    client_field,
    client_has,
    client_lines,
    content,
    forwarded,
    interim,
)

if TYPE_CHECKING:
    from tests.conformance.case import Observation, Outcome
    from tests.conformance.origin import Part

_STATUS = "RFC 9112 section 4"
_FIELDS = "RFC 9112 section 5"
_BAD = (bad_gateway(),)
_ANY_BAD = (bad_gateway(500, 502, 503), ABORTED, UNANSWERED)
_OK = content(b"ok")


def _reply(
    id_: str,
    title: str,
    source: str,
    *parts: Part,
    accept: tuple[Outcome, ...] = _ANY_BAD,
    ours: tuple[Outcome, ...] | None = _BAD,
) -> Case:
    """Return a case of a response; refused with 502 unless told otherwise."""
    replies = ((body, *parts),) * 3  # a request that got no response may come again
    return Case(f"response-{id_}", title, source, (request(),), accept, ours, replies)


def _line(id_: str, title: str, line: bytes, *accept: Outcome) -> Case:
    """Return a case of a bad status line; the connection is closed, to end whoever waits."""
    raw = line + b"\r\nX-Origin: 1\r\nContent-Length: 2\r\n\r\nok"
    return _reply(f"line-{id_}", title, _STATUS, raw, close, accept=(*_ANY_BAD, *accept))


def _field(id_: str, title: str, line: bytes, *accept: Outcome, source: str = _FIELDS) -> Case:
    raw = answer(b"ok", line)
    return _reply(f"field-{id_}", title, source, raw, close, accept=(*_ANY_BAD, *accept))


_WITHOUT = forwarded(_OK, client_field("X-A", None), text="forwarded without it")

_LINES = (
    _line("99", "status 99", b"HTTP/1.1 99 Odd"),
    _line("600", "status 600", b"HTTP/1.1 600 Odd", forwarded(statuses=(600,))),
    _line("999", "status 999", b"HTTP/1.1 999 Odd", forwarded(statuses=(999,))),
    _line("000", "status 000", b"HTTP/1.1 000 Odd"),
    _line("1000", "status of four digits", b"HTTP/1.1 1000 Odd"),
    _line("20", "status of two digits", b"HTTP/1.1 20 Odd"),
    _line("letters", "status of letters", b"HTTP/1.1 2xx OK"),
    _line("plus", "status with a sign", b"HTTP/1.1 +200 OK"),
    _line("minus", "negative status", b"HTTP/1.1 -20 OK"),
    _line("two-spaces", "two spaces before the status", b"HTTP/1.1  200 OK", forwarded(_OK)),
    _line("tab", "tab before the status", b"HTTP/1.1\t200 OK", forwarded(_OK)),
    _line("leading-space", "space at the start", b" HTTP/1.1 200 OK"),
    _line("no-status", "no status", b"HTTP/1.1"),
    _line("garbage", "no HTTP at all", b"SSH-2.0-OpenSSH_9.2"),
    _line("request", "a request as answer", b"GET / HTTP/1.1"),
    _line("http-0.9", "version 0.9", b"HTTP/0.9 200 OK"),
    _line("http-2", "version 2.0", b"HTTP/2.0 200 OK"),
    _line("lower-case", "version in lower case", b"http/1.1 200 OK"),
    _line("icy", "ICY, as old radios say", b"ICY 200 OK"),
    _line("no-version", "no version", b"200 OK"),
    _line("nul-reason", "NUL in the reason", b"HTTP/1.1 200 O\x00K", forwarded(_OK)),
    _line("cr-reason", "bare CR in the reason", b"HTTP/1.1 200 O\rX-A: 1", forwarded(_OK)),
    _line("long-reason", "a reason of 100,000 bytes", b"HTTP/1.1 200 " + b"O" * 100_000,
          forwarded(_OK)),
    _reply("line-no-reason", "no reason, and no space before it", _STATUS,
           b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", accept=(forwarded(_OK), *_ANY_BAD),
           ours=None),
    _reply("line-empty-reason", "an empty reason", _STATUS,
           b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", accept=(forwarded(_OK),), ours=None),
    _reply("line-obs-text-reason", "obs-text in the reason", _STATUS,
           b"HTTP/1.1 200 \xe9\r\nContent-Length: 2\r\n\r\nok", accept=(forwarded(_OK),),
           ours=None),
    _reply("line-http-1.0", "version 1.0", "RFC 9112 section 2.3",
           b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", close,
           accept=(forwarded(_OK),), ours=None),
    _reply("line-http-1.2", "version 1.2 counts as 1.1", "RFC 9110 section 2.5",
           b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok", close,
           accept=(forwarded(_OK), *_ANY_BAD), ours=None),
    _reply("line-empty-before", "an empty line before the status line", _STATUS,
           b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", close,
           accept=(forwarded(_OK), *_ANY_BAD), ours=None),
    _reply("unregistered", "an unregistered status", "RFC 9110 section 15",
           answer(b"ok", status=b"299 Odd"), accept=(forwarded(_OK, statuses=(299,)),),
           ours=None),
    _reply("unregistered-5xx", "an unregistered server error", "RFC 9110 section 15",
           answer(b"ok", status=b"599 Odd"), accept=(forwarded(_OK, statuses=(599,)),),
           ours=None),
    _reply("nothing", "the connection closes without a response", _STATUS, close,
           accept=(bad_gateway(502, 503),)),
    _reply("reset", "the connection is reset without a response", _STATUS, reset,
           accept=(bad_gateway(502, 503),)),
    _reply("cut-line", "the connection closes within the status line", _STATUS, b"HTTP/1.1 20",
           close, accept=(bad_gateway(502, 503),)),
    _reply("cut-head", "the connection closes within the head", _STATUS,
           b"HTTP/1.1 200 OK\r\nX-Origin: 1\r\nContent-Le", close, accept=(bad_gateway(502, 503),)),
    _reply("reset-head", "the connection is reset within the head", _STATUS,
           b"HTTP/1.1 200 OK\r\nX-Origin: 1\r\n", reset, accept=(bad_gateway(502, 503),)),
    _reply("cut-before-end", "the connection closes before the head's last line", _STATUS,
           b"HTTP/1.1 200 OK\r\nX-Origin: 1\r\nContent-Length: 2\r\n", close,
           accept=(bad_gateway(502, 503),)),
    _reply("bytewise", "a response that comes byte by byte", _STATUS,
           *(bytes([byte]) for byte in answer(b"ok")), accept=(forwarded(_OK),), ours=None),
)  # fmt: skip

_FIELD_CASES = (
    _field("space-before-colon", "space before a colon: removed, or refused", b"X-A : 1",
           _WITHOUT, forwarded(_OK, client_field("X-A", b"1")),
           source="RFC 9112 section 5.1"),
    _field("no-colon", "no colon", b"X-A", _WITHOUT),
    _field("empty-name", "empty name", b": 1", _WITHOUT),
    _field("space-in-name", "space in a name", b"X A: 1", _WITHOUT),
    _field("non-ascii-name", "non-ASCII name", b"X-\xc3\xa9: 1", _WITHOUT),
    _field("nul-name", "NUL in a name", b"X\x00A: 1", _WITHOUT),
    _field("brackets-name", "brackets in a name", b"X[A]: 1", _WITHOUT),
    _field("nul", "NUL in a value", b"X-A: a\x00b", _WITHOUT, source="RFC 9110 section 5.5"),
    _field("cr", "bare CR in a value", b"X-A: a\rX-B: 1", _WITHOUT,
           source="RFC 9110 section 5.5"),
    _field("control", "control character in a value", b"X-A: a\x01b", _WITHOUT,
           forwarded(_OK), source="RFC 9110 section 5.5"),
    _field("bare-lf", "LF alone as line end", b"X-A: 1\nX-B: 2", forwarded(_OK),
           source="RFC 9112 section 2.2"),
    _field("fold", "obs-fold: refused, or spaces", b"X-A: a\r\n b", _WITHOUT,
           forwarded(_OK, client_field("X-A", b"a b", b"a   b", b"a    b")),
           source="RFC 9112 section 5.2"),
    _field("leading-space", "white space before the first field", b" X-A: 1", _WITHOUT,
           forwarded(_OK), source="RFC 9112 section 2.2"),
    _field("value-70k", "a field of 70,000 bytes", b"X-A: " + b"v" * 70_000, forwarded(_OK),
           source="RFC 9110 section 5.4"),
    _field("1000-fields", "1,000 fields", b"\r\n".join([b"X-A: 1"] * 1000), forwarded(_OK),
           source="RFC 9110 section 5.4"),
    _field("endless", "2 MB of fields", b"\r\n".join([b"X-A: " + b"v" * 1000] * 2000),
           source="RFC 9110 section 5.4"),
    _reply("field-obs-text", "obs-text goes on byte for byte", "RFC 9110 section 5.5",
           answer(b"ok", b"X-A: \xe9\xff\x80", "X-B: 世界".encode()),
           accept=(forwarded(client_field("X-A", b"\xe9\xff\x80"),
                             client_field("X-B", "世界".encode())),), ours=None),
    _reply("field-empty", "an empty value", "RFC 9110 section 5.5", answer(b"ok", b"X-A:"),
           accept=(forwarded(client_field("X-A", b"", None)),), ours=None),
    _reply("field-set-cookie", "lines of Set-Cookie stay apart", "RFC 6265 section 3",
           answer(b"ok", b"Set-Cookie: a=1; Expires=Wed, 21 Oct 2015 07:28:00 GMT",
                  b"X-A: 1", b"Set-Cookie: b=2"),
           accept=(forwarded(client_lines(
               "Set-Cookie", b"a=1; Expires=Wed, 21 Oct 2015 07:28:00 GMT", b"b=2")),),
           ours=None),
    _reply("field-large", "a head of 3,000 bytes", "RFC 9110 section 5.4",
           answer(b"ok", b"X-A: " + b"v" * 3000),
           accept=(forwarded(client_field("X-A", b"v" * 3000)),), ours=None),
    _reply("date-added", "Date is added where the origin sent none", "RFC 9110 section 6.6.1",
           answer(b"ok"), accept=(forwarded(client_has("Date")),), ours=None),
    _reply("date-kept", "the origin's Date goes on", "RFC 9110 section 6.6.1",
           answer(b"ok", b"Date: Thu, 01 Jan 2015 00:00:00 GMT"),
           accept=(forwarded(client_has("Date")),),
           ours=(forwarded(client_lines("Date", b"Thu, 01 Jan 2015 00:00:00 GMT")),)),
)  # fmt: skip


def _no_keep_alive(seen: Observation) -> str | None:
    passed_on = any(one.header("Keep-Alive") for one in seen.interim)
    return "Keep-Alive in an interim response" if passed_on else None


_INTERIM = "RFC 9110 section 15.2"
_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"

_INTERIM_CASES = (
    Case("interim-103", "103 goes on before the final response", _INTERIM,
         (request(), until_interim(103), opens("final")), (forwarded(_OK, interim(103)),),
         replies=((body, _HINTS, gate("final"), answer(b"ok")),)),
    _reply("interim-two", "two interim responses", _INTERIM, _HINTS, _HINTS, answer(b"ok"),
           accept=(forwarded(_OK, interim(103, 103)),), ours=None),
    _reply("interim-102", "102", _INTERIM, b"HTTP/1.1 102 Processing\r\n\r\n", answer(b"ok"),
           accept=(forwarded(_OK, interim(102)),), ours=None),
    _reply("interim-199", "an unregistered interim response", _INTERIM,
           b"HTTP/1.1 199 Odd\r\n\r\n", answer(b"ok"), accept=(forwarded(_OK, interim(199)),),
           ours=None),
    _reply("interim-100-unasked", "100 that nobody asked for", "RFC 9110 section 15.2.1",
           b"HTTP/1.1 100 Continue\r\n\r\n", answer(b"ok"),
           accept=(forwarded(_OK), forwarded(_OK, interim(100))), ours=None),
    Case("interim-1.0", "no interim response to HTTP/1.0", _INTERIM,
         (request(version=b"HTTP/1.0"),), (forwarded(_OK, interim(), closed=True),),
         replies=((body, _HINTS, answer(b"ok")),)),
    Case("interim-hop", "an interim response has no hop-by-hop fields", "RFC 9110 section 7.6.1",
         (request(),), (forwarded(_OK, _no_keep_alive),),
         replies=((body, _HINTS[:-2] + b"Keep-Alive: timeout=5\r\n\r\n", answer(b"ok")),)),
    _reply("interim-many", "3,000 interim responses", _INTERIM, _HINTS * 3000, answer(b"ok"),
           accept=(*_ANY_BAD, forwarded(_OK)), ours=None),
    _reply("interim-then-nothing", "an interim response, then the end", _INTERIM, _HINTS, close,
           accept=(bad_gateway(502, 503),)),
    _reply("interim-bad", "a malformed interim response", _INTERIM,
           b"HTTP/1.1 103 Early\r\nX A: 1\r\n\r\n", answer(b"ok"), close,
           accept=(*_ANY_BAD, forwarded(_OK))),
    _reply("101-unasked", "101 that nobody asked for", "RFC 9110 section 7.8",
           _SWITCH + b"Upgrade: websocket\r\nX-Origin: 1\r\n\r\n", close,
           accept=(bad_gateway(500, 502, 503), UNANSWERED)),
    Case("101-other-protocol", "101 to another protocol than was asked for",
         "RFC 9110 section 7.8",
         (request(b"Connection: Upgrade", b"Upgrade: websocket"), until_origin_has(1)),
         (bad_gateway(500, 502, 503), UNANSWERED), _BAD,
         replies=((body, _SWITCH + b"Upgrade: evil\r\nX-Origin: 1\r\n\r\n", close),)),
    _reply("status-only-head", "a whole response without any field but the length", _STATUS,
           b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", accept=(forwarded(_OK),), ours=None),
)  # fmt: skip

CASES = (*_LINES, *_FIELD_CASES, *_INTERIM_CASES)
