"""Connections, HEAD, Expect, problem documents and time limits, as clients see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.case import Case
from tests.conformance.client import (
    bytewise,
    half_close,
    half_close_if_silent,
    opens,
    reset,
    until_closed,
    until_interim,
    until_origin_has,
    until_upstream_closed,
)
from tests.conformance.messages import HELLO, HOST, chunked, post, request, sized
from tests.conformance.origin import answer, body, gate, hang
from tests.conformance.outcome import (
    DROPPED,
    UNANSWERED,
    answered,
    client_field,
    client_has,
    content,
    forwarded,
    interim,
    origin_content,
    origin_methods,
    problem,
    refused,
    served_and_closed,
)

if TYPE_CHECKING:
    from tests.conformance.case import Observation

_OK = content(b"ok")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# A half-close is not the end of a connection, but HTTP does not forbid to take it for the end.
_HALF_CLOSE = "RFC 9293 section 3.6"
_MAY_HANG_UP = (forwarded(), UNANSWERED)

_CONNECTIONS = (
    Case("persistent", "HTTP/1.1 keeps the connection", "RFC 9112 section 9.3", (request(),),
         (forwarded(closed=False),)),
    Case("close", "Connection: close", "RFC 9112 section 9.6", (request(b"Connection: close"),),
         (served_and_closed(1, client_field("Connection", b"close")), served_and_closed())),
    Case("1.0-closes", "HTTP/1.0 closes", "RFC 9112 section 9.3", (request(version=b"HTTP/1.0"),),
         (served_and_closed(),)),
    Case("1.0-keep-alive", "HTTP/1.0 with keep-alive", "RFC 9112 appendix C.2.2",
         (request(b"Connection: keep-alive", version=b"HTTP/1.0"),),
         (forwarded(closed=False), served_and_closed())),
    Case("1.0-keep-alive-told", "if kept, the response says keep-alive",
         "RFC 9112 appendix C.2.2", (request(b"Connection: Keep-Alive", version=b"HTTP/1.0"),),
         (forwarded(client_field("Connection", b"keep-alive", b"Keep-Alive"), closed=False),
          served_and_closed())),
    Case("half-close", "a client that half-closes gets its answer", _HALF_CLOSE,
         (request(), half_close), _MAY_HANG_UP, (forwarded(),)),
    Case("half-close-slow", "also when the answer takes its time", _HALF_CLOSE,
         (request(), half_close, until_origin_has(1), opens("late")), _MAY_HANG_UP,
         (forwarded(_OK),), replies=((body, gate("late"), answer(b"ok")),)),
    Case("half-close-body", "also behind a request body", _HALF_CLOSE,
         (sized(b"hello"), half_close), _MAY_HANG_UP, (forwarded(origin_content(b"hello")),)),
    Case("half-close-1.0", "also with HTTP/1.0", _HALF_CLOSE,
         (request(version=b"HTTP/1.0"), half_close), _MAY_HANG_UP, (forwarded(),)),
    Case("bytewise", "a request byte by byte", "RFC 9112 section 2.2",
         bytewise(sized(b"hello")),
         (forwarded(origin_content(b"hello")),)),
    Case("head", "HEAD", "RFC 9110 section 9.3.2", (request(method=b"HEAD"),),
         (forwarded(origin_methods(b"HEAD"), client_field("Content-Length", b"8"), closed=False),),
         methods=("HEAD",)),
    Case("head-not-found", "HEAD of what is not found: no body", "RFC 9110 section 9.3.2",
         (request(method=b"HEAD", target=b"/none"),), (answered(404),), methods=("HEAD",)),
    Case("options", "OPTIONS goes to the origin", "RFC 9110 section 9.3.7",
         (request(method=b"OPTIONS"),), (forwarded(origin_methods(b"OPTIONS")),)),
)  # fmt: skip

_EXPECT = "RFC 9110 section 10.1.1"
_EXPECT_HEAD = post(b"Content-Length: 5", b"Expect: 100-continue")
_ASKS = (_CONTINUE, body, answer(b"ok"))

_EXPECTATIONS = (
    Case("expect", "100 Continue, then the body, then the answer", _EXPECT,
         (_EXPECT_HEAD, until_interim(100), b"hello"),
         (forwarded(_OK, interim(100), origin_content(b"hello")),), replies=(_ASKS,)),
    Case("expect-chunked", "likewise with a chunked body", _EXPECT,
         (chunked(b"", b"Expect: 100-continue"), until_interim(100), HELLO),
         (forwarded(_OK, interim(100), origin_content(b"hello")),), replies=(_ASKS,)),
    Case("expect-case", "100-Continue in any case", _EXPECT,
         (post(b"Content-Length: 5", b"Expect: 100-Continue"), until_interim(100), b"hello"),
         (forwarded(_OK, origin_content(b"hello")),), replies=(_ASKS,)),
    Case("expect-impatient", "the client does not wait", _EXPECT, (_EXPECT_HEAD + b"hello",),
         (forwarded(_OK, origin_content(b"hello")),), replies=(_ASKS,)),
    Case("expect-silent-origin", "the origin never says 100: the body comes all the same", _EXPECT,
         (_EXPECT_HEAD + b"hello",), (forwarded(_OK, origin_content(b"hello")),),
         replies=((body, answer(b"ok")),)),
    Case("expect-refused", "the origin refuses at once, the body is never sent", _EXPECT,
         (_EXPECT_HEAD,),
         (forwarded(statuses=(403,), requests=0), forwarded(interim(100), statuses=(403,),
                                                             requests=0)),
         replies=((answer(b"no", b"Connection: close", status=b"403 Forbidden"), body),),
         probe=False),
    Case("expect-no-body", "Expect without a body", _EXPECT,
         (post(b"Content-Length: 0", b"Expect: 100-continue"),), (forwarded(),)),
    Case("expect-1.0", "HTTP/1.0 gets no 100", _EXPECT,
         (request(b"Content-Length: 5", b"Expect: 100-continue", method=b"POST",
                  version=b"HTTP/1.0", body=b"hello"),),
         (forwarded(interim(), origin_content(b"hello")),)),
    Case("expect-unknown", "an unknown expectation: 417, or passed on", _EXPECT,
         (sized(b"hello", b"Expect: miracle"),),
         (forwarded(), answered(417), refused(417)), (answered(417), refused(417))),
    Case("expect-not-found", "no 100 before a refusal of the proxy's own", _EXPECT,
         (post(b"Content-Length: 5", b"Expect: 100-continue", target=b"/none"),),
         (answered(404, checks=(interim(),)),), probe=False),
    Case("expect-too-large", "no 100 before 413", _EXPECT,
         (post(b"Content-Length: 99999999", b"Expect: 100-continue"), half_close_if_silent),
         (answered(413, checks=(interim(),)), DROPPED),
         (answered(413, checks=(interim(),)),), probe=False),
)  # fmt: skip


def _own(id_: str, title: str, target: bytes, status: int, code: str, source: str) -> Case:
    """Return a case of an answer that the proxy makes itself, with its stable code."""
    return Case(
        f"own-{id_}", title, source, (request(target=target),),
        tuple(forwarded(statuses=(one,), requests=requests, text=str(one))
              for one in dict.fromkeys((status, 503)) for requests in (0, 1)),
        (forwarded(problem(code), client_has("X-Request-Id"),
                   client_field("Content-Type", b"application/problem+json"),
                   statuses=(status,), requests=int(code == "upstream_timeout"),
                   text=f"{status} {code}"),),
        replies=((body, hang),) if code == "upstream_timeout" else (),
    )  # fmt: skip


def _tells_no_address(seen: Observation) -> str | None:
    told = seen.responses and b"127.0.0.1" in seen.responses[-1].body
    return "the instance's address is told" if told else None


_OWN = (
    _own("not-found", "no route", b"/none", 404, "route_not_found", "RFC 9110 section 15.5.5"),
    _own("refusing", "the connection is refused", b"/refusing", 502, "upstream_connect_failure",
         "RFC 9110 section 15.6.3"),
    _own("hasty", "the route's time is up", b"/hasty", 504, "upstream_timeout",
         "RFC 9110 section 15.6.5"),
    _own("empty", "no instance", b"/empty", 503, "no_instance", "RFC 9110 section 15.6.4"),
    Case("own-method", "a method that the route does not have: 405 with Allow",
         "RFC 9110 section 15.5.6", (sized(b"", target=b"/get-only"),),
         (answered(403, 404, 405),),
         (answered(405, checks=(client_field("Allow", b"GET, HEAD"),
                                problem("method_not_allowed"))),)),
    Case("own-method-head", "HEAD where GET is", "RFC 9110 section 9.3.2",
         (request(method=b"HEAD", target=b"/get-only"),), (forwarded(), answered(404, 405)),
         (forwarded(),), methods=("HEAD",)),
    Case("own-empty-retry-after", "no instance: Retry-After", "RFC 9110 section 10.2.3",
         (request(target=b"/empty"),), (answered(503, checks=(client_has("Retry-After"),)),),
         gatewayd_only=True),
    Case("own-not-found-body", "an answer without reading the body: the body is no request",
         "RFC 9112 section 9.3", (sized(request(), target=b"/none"),),
         (answered(404),)),
    Case("own-not-found-chunked", "likewise chunked", "RFC 9112 section 9.3",
         (chunked(HELLO, target=b"/none"),), (answered(404),)),
    Case("own-not-found-endless", "likewise a body that has not come: closed",
         "RFC 9112 section 9.3", (post(b"Content-Length: 500", target=b"/none"),),
         (answered(404),), probe=False),
    Case("own-not-found-large", "likewise a body of 200 KB: served on, or closed",
         "RFC 9112 section 9.3", (sized(b"x" * 200_000, target=b"/none"),), (answered(404),)),
    Case("own-leak", "an error tells nothing of the inside", "CWE-209",
         (request(target=b"/refusing"),),
         (answered(502, 503, checks=(_tells_no_address,)),)),
)  # fmt: skip

_TIMES = (
    Case("time-head", "a head that never ends: 408 or closed", "RFC 9110 section 15.5.9",
         (b"GET /t/ HTTP/1.1\r\n" + HOST + b"\r\nX-A: 1", until_closed),
         (refused(408), DROPPED), (refused(408),)),
    Case("time-body", "a body that never comes: 408 or closed", "RFC 9110 section 15.5.9",
         (post(b"Content-Length: 10", body=b"hello"), until_closed),
         (refused(408), DROPPED, refused(400, 502, 504)), (refused(408),)),
    Case("abort-waiting", "the client leaves while the origin thinks: the origin is told",
         "design",
         (request(), until_origin_has(1), reset, until_upstream_closed),
         (UNANSWERED,), replies=((body, hang),), responses=0, probe=False),
    Case("abort-upload", "the client leaves within its body: the origin is told",
         "RFC 9112 section 8",
         (post(b"Content-Length: 10", body=b"hello"), until_origin_has(1, 5), reset,
          until_upstream_closed),
         (UNANSWERED,), responses=0, probe=False),
)  # fmt: skip

CASES = (*_CONNECTIONS, *_EXPECTATIONS, *_OWN, *_TIMES)
