"""Request smuggling as it is done: two lengths, hidden fields, unread bodies (RFC 9112, 11.2)."""

from __future__ import annotations

from tests.conformance.case import Case
from tests.conformance.messages import HELLO, SMUGGLED, post, request, sized
from tests.conformance.origin import answer
from tests.conformance.outcome import (
    DROPPED,
    answered,
    forwarded,
    origin_content,
    origin_field,
    origin_lacks,
    origin_methods,
    origin_targets,
    refused,
    served_and_closed,
)

_SOURCE = "RFC 9112 section 6.3"
_BOTH = (refused(400), DROPPED)
_BAD = (refused(400),)
_TE = b"Transfer-Encoding: chunked"


def _both(id_: str, title: str, length: int, body: bytes, read: bytes) -> Case:
    """Return a case with both lengths: refused, or read as chunked and closed (RFC 9112, 6.3)."""
    steps = (post(b"Content-Length: %d" % length, _TE, body=body),)
    chunked_only = served_and_closed(
        1, origin_content(read), origin_field("Content-Length", None, b"%d" % len(read))
    )
    return Case(f"smuggle-{id_}", title, _SOURCE, steps, (*_BOTH, chunked_only), _BAD)


_CHUNKED_REQUEST = b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n"

CASES = (
    _both("cl-te", "CL.TE: a request behind the last chunk", 5 + len(SMUGGLED),
          b"0\r\n\r\n" + SMUGGLED, b""),
    _both("cl-te-prefix", "CL.TE: the start of the next request behind the last chunk", 6,
          b"0\r\n\r\nG", b""),
    _both("te-cl", "TE.CL: a request within a chunk", 4, _CHUNKED_REQUEST, SMUGGLED),
    _both("te-cl-zero", "TE.CL with length 0", 0, _CHUNKED_REQUEST, SMUGGLED),
    _both("both-agree", "both lengths, of the same body", len(HELLO), HELLO, b"hello"),
    Case("smuggle-te-first", "Transfer-Encoding before Content-Length", _SOURCE,
         (post(_TE, b"Content-Length: 4", body=_CHUNKED_REQUEST),),
         (*_BOTH, served_and_closed(1, origin_content(SMUGGLED))), _BAD),
    Case("smuggle-cl-te-get", "CL.TE with GET", _SOURCE,
         (request(b"Content-Length: %d" % (5 + len(SMUGGLED)), _TE,
                  body=b"0\r\n\r\n" + SMUGGLED),),
         (*_BOTH, served_and_closed(1, origin_content(b""))), _BAD),
    Case("smuggle-cl-te-bad-length", "a bad Content-Length beside chunked", _SOURCE,
         (post(b"Content-Length: x", _TE, body=HELLO),),
         (*_BOTH, served_and_closed(1, origin_content(b"hello"))), _BAD),
    Case("smuggle-cl-te-two-lengths", "two lengths beside chunked", _SOURCE,
         (post(b"Content-Length: 4", b"Content-Length: 15", _TE, body=HELLO),),
         (*_BOTH, served_and_closed(1, origin_content(b"hello"))), _BAD),
    Case("smuggle-cl-0", "CL.0: the origin answers without reading the body", _SOURCE,
         (sized(SMUGGLED),), (forwarded(origin_content(SMUGGLED), statuses=(404,)),),
         replies=((answer(status=b"404 Not Found"),),)),
    Case("smuggle-hidden-length", "Connection names Content-Length: the length stays",
         "RFC 9110 section 7.6.1", (sized(SMUGGLED, b"Connection: Content-Length"),),
         (forwarded(origin_content(SMUGGLED)), *_BOTH)),
    Case("smuggle-hidden-coding", "Connection names Transfer-Encoding: the framing stays",
         "RFC 9110 section 7.6.1",
         (post(_TE, b"Connection: Transfer-Encoding", body=_CHUNKED_REQUEST),),
         (forwarded(origin_content(SMUGGLED)), *_BOTH)),
    Case("smuggle-hidden-close", "Connection names close and Content-Length",
         "RFC 9110 section 7.6.1", (sized(SMUGGLED, b"Connection: close, Content-Length"),),
         (served_and_closed(1, origin_content(SMUGGLED)), *_BOTH)),
    Case("smuggle-upgrade-body", "Upgrade beside a body: it stays a body",
         "RFC 9110 section 7.8",
         (sized(SMUGGLED, b"Connection: Upgrade", b"Upgrade: websocket"),),
         (forwarded(origin_content(SMUGGLED)), *_BOTH)),
    Case("smuggle-h2c", "upgrade to h2c does not go on", "RFC 9113 section 3.1",
         (request(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c",
                  b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),),
         (forwarded(origin_lacks("Upgrade"), origin_lacks("HTTP2-Settings")),
          answered(403), *_BOTH),
         (forwarded(origin_lacks("Upgrade"), origin_lacks("HTTP2-Settings")),)),
    Case("smuggle-h2c-no-settings", "upgrade to h2c, settings not named",
         "RFC 9113 section 3.1", (request(b"Connection: Upgrade", b"Upgrade: h2c"),),
         (forwarded(origin_lacks("Upgrade")), answered(403), *_BOTH),
         (forwarded(origin_lacks("Upgrade")),)),
    Case("smuggle-upgrade-list", "Upgrade to websocket or h2c: never h2c",
         "RFC 9110 section 7.8",
         (request(b"Connection: Upgrade", b"Upgrade: websocket, h2c"),),
         (forwarded(origin_lacks("Upgrade", b"h2c")), answered(403), *_BOTH)),
    Case("smuggle-header-value", "a request in a header value stays one",
         "RFC 9110 section 5.5",
         (request(b"X-A: GET /t/smuggled HTTP/1.1", b"X-B: Host: evil.test"),),
         (forwarded(origin_targets(b"/t/")),)),
    Case("smuggle-method-override", "X-HTTP-Method-Override does not change the method",
         "RFC 9110 section 9.1", (request(b"X-HTTP-Method-Override: DELETE"),),
         (forwarded(origin_methods(b"GET")),)),
    Case("smuggle-crlf-target", "encoded CRLF in the target stays encoded or is refused",
         "RFC 3986 section 2.4",
         (request(target=b"/t/%0d%0aX-Evil:%201%0d%0a"),),
         (forwarded(origin_field("X-Evil", None)), *_BOTH)),
    Case("smuggle-crlf-query", "encoded CRLF in the query likewise", "RFC 3986 section 2.4",
         (request(target=b"/t/?a=%0d%0aX-Evil:%201"),),
         (forwarded(origin_field("X-Evil", None),
                    origin_targets(b"/t/?a=%0d%0aX-Evil:%201")), *_BOTH)),
    Case("smuggle-expect-body", "Expect with a body that looks like a request",
         "RFC 9110 section 10.1.1", (sized(SMUGGLED, b"Expect: 100-continue"),),
         (forwarded(origin_content(SMUGGLED)),)),
    Case("smuggle-expect-odd", "odd Expect with a body that looks like a request",
         "RFC 9110 section 10.1.1", (sized(SMUGGLED, b"Expect: 100-continue, x"),),
         (forwarded(origin_content(SMUGGLED)), refused(400, 417))),
    Case("smuggle-head-body", "HEAD with a body that looks like a request", _SOURCE,
         (sized(SMUGGLED, method=b"HEAD"),),
         (forwarded(origin_content(SMUGGLED)), refused(400, 413)), methods=("HEAD",)),
)  # fmt: skip
