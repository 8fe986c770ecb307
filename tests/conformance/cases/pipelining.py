"""Several requests on one connection: order, and what happens behind a bad one (RFC 9112, 9.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.case import Case
from tests.conformance.client import (
    bytewise,
    half_close,
    half_close_if_silent,
    opens,
    until_origin_has,
    until_responses,
)
from tests.conformance.messages import HELLO, chunked, post, request, sized
from tests.conformance.origin import answer, body, gate
from tests.conformance.outcome import (
    DROPPED,
    UNANSWERED,
    forwarded,
    order,
    origin_content,
    origin_targets,
    refused,
    served_and_closed,
    then_refused,
)

if TYPE_CHECKING:
    from tests.conformance.case import Check, Observation

_SOURCE = "RFC 9112 section 9.3.2"
_A, _B, _C = (request(target=b"/t/" + name) for name in (b"a", b"b", b"c"))
_PADDED = request(b"X-A: " + b"v" * 4000)
_GET_A, _GET_B, _GET_C = b"GET /t/a", b"GET /t/b", b"GET /t/c"


def _behind_valid(id_: str, title: str, second: bytes, *statuses: int) -> Case:
    """Return a case of a valid request and a bad one: the valid one is answered."""
    codes = statuses or (400,)
    return Case(
        f"pipeline-{id_}", title, _SOURCE, (_A + second,),
        (then_refused(*codes), served_and_closed(1, order(_GET_A))), (then_refused(*codes),),
        responses=2,
    )  # fmt: skip


def _served(id_: str, title: str, steps: tuple[bytes, ...], *bodies: bytes) -> Case:
    outcome = forwarded(order(*bodies), statuses=(200,) * len(bodies))
    return Case(f"pipeline-{id_}", title, _SOURCE, steps, (outcome,), responses=len(bodies))


def _ids_differ(seen: Observation) -> str | None:
    ids = [request.values("X-Request-Id") for request in seen.complete_requests]
    one_each = all(len(values) == 1 for values in ids)
    different = len({value for values in ids for value in values}) == len(ids)
    return None if one_each and different else f"request ids: {ids!r}"


def _hosts(*expected: bytes) -> Check:
    def check(seen: Observation) -> str | None:
        got = tuple(request.header("Host") for request in seen.complete_requests)
        return None if got == expected else f"Hosts at the origin: {got!r}"

    return check


CASES = (
    _served("two", "two requests in one segment", (_A + _B,), _GET_A, _GET_B),
    _served("three", "three requests", (_A + _B + _C,), _GET_A, _GET_B, _GET_C),
    _served("twenty", "twenty requests", (_A * 20,), *(_GET_A,) * 20),
    _served("split", "the second request is split within its first line",
            (_A + _B[:7], _B[7:]), _GET_A, _GET_B),
    _served("with-body", "a body between two requests", (_A + sized(b"hello") + _B,), _GET_A,
            b"POST /t/", _GET_B),
    _served("chunked", "a chunked body between two requests", (_A + chunked(HELLO) + _B,),
            _GET_A, b"POST /t/", _GET_B),
    _served("crlf-between", "an empty line between two requests", (_A + b"\r\n" + _B,), _GET_A,
            _GET_B),
    _served("crlf-behind-body", "an extra CRLF behind a body, as old browsers sent it",
            (sized(b"hello") + b"\r\n" + _B,), b"POST /t/", _GET_B),
    Case("pipeline-1000", "1,000 requests at once", _SOURCE, (_A * 1000,),
         (forwarded(order(*(_GET_A,) * 1000), statuses=(200,) * 1000),), responses=1000),
    Case("pipeline-waiting", "400 KB of requests behind one that takes its time", _SOURCE,
         (_A, until_origin_has(1), _PADDED * 100, opens("slow")),
         (forwarded(statuses=(200,) * 101),),
         replies=((body, gate("slow"), answer(b"slow")),), responses=101),
    Case("pipeline-bytewise", "two requests byte by byte", _SOURCE, bytewise(_A + _B),
         (forwarded(order(_GET_A, _GET_B), statuses=(200, 200)),), responses=2),
    Case("pipeline-head", "HEAD, then GET", _SOURCE,
         (request(method=b"HEAD", target=b"/t/a") + _B,),
         (forwarded(order(b"", _GET_B), statuses=(200, 200)),), methods=("HEAD", "GET"),
         responses=2),
    Case("pipeline-order", "the second answer waits for the slow first one", _SOURCE,
         (_A + _B, until_origin_has(1), opens("slow")),
         (forwarded(order(b"slow", _GET_B), statuses=(200, 200)),),
         replies=((body, gate("slow"), answer(b"slow")),), responses=2),
    Case("pipeline-sequential", "requests one after the other on one connection",
         "RFC 9112 section 9.3",
         (_A, until_responses(1), _B, until_responses(2), _C),
         (forwarded(order(_GET_A, _GET_B, _GET_C), statuses=(200, 200, 200)),), responses=3),
    Case("pipeline-half-close", "the client half-closes behind two requests",
         "RFC 9293 section 3.6", (_A + _B, half_close),
         (forwarded(order(_GET_A, _GET_B), statuses=(200, 200)),
          served_and_closed(1, order(_GET_A)), UNANSWERED),
         (forwarded(order(_GET_A, _GET_B), statuses=(200, 200)),), responses=2),
    Case("pipeline-behind-close", "bytes behind `Connection: close` are no request",
         "RFC 9112 section 9.6", (request(b"Connection: close", target=b"/t/a") + _B,),
         (served_and_closed(1, order(_GET_A)),)),
    Case("pipeline-garbage-behind-close", "garbage behind `Connection: close`",
         "RFC 9112 section 9.6",
         (request(b"Connection: close", target=b"/t/a") + b"\x00\x01\x02",),
         (served_and_closed(1, order(_GET_A)),)),
    Case("pipeline-close-body", "`Connection: close`, a body, and another request",
         "RFC 9112 section 9.6", (sized(b"hello", b"Connection: close") + _B,),
         (served_and_closed(1, origin_content(b"hello")),)),
    Case("pipeline-1.0", "a request behind one of HTTP/1.0", "RFC 9112 section 9.3",
         (request(version=b"HTTP/1.0", target=b"/t/a") + _B,),
         (served_and_closed(1, order(_GET_A)),)),
    Case("pipeline-1.0-keep-alive", "likewise with keep-alive", "RFC 9112 section 9.3",
         (request(b"Connection: keep-alive", version=b"HTTP/1.0", target=b"/t/a") + _B,),
         (forwarded(order(_GET_A, _GET_B), statuses=(200, 200)),
          served_and_closed(1, order(_GET_A))), responses=2),
    _behind_valid("garbage", "garbage behind a valid request", b"\x00\x01\x02\r\n\r\n"),
    _behind_valid("bad-line", "a bad request line behind a valid request",
                  b"GET /t/b HTTP/1.1 x\r\nHost: a\r\n\r\n"),
    _behind_valid("no-host", "a request without Host", request(host=None)),
    _behind_valid("two-hosts", "a request with two Hosts", request(b"Host: b")),
    _behind_valid("bad-field", "a bad field", request(b"X-A : 1")),
    _behind_valid("bad-length", "a bad Content-Length", post(b"Content-Length: x")),
    _behind_valid("both-lengths", "both kinds of length", post(
        b"Content-Length: 3", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    _behind_valid("http-0.9", "a request of HTTP/0.9", b"GET /t/b\r\n\r\n"),
    _behind_valid("http-2", "HTTP/2.0", request(version=b"HTTP/2.0"), 400, 505),
    _behind_valid("large-head", "a head that is too large", request(b"X-A: " + b"v" * 70_000),
                  400, 413, 431),
    _behind_valid("bad-chunk", "a bad chunk", chunked(b"x\r\n")),
    Case("pipeline-incomplete", "an incomplete request behind a valid one, then the end",
         "RFC 9112 section 8", (_A + _B[:20], until_responses(1), half_close),
         (served_and_closed(1, order(_GET_A)), then_refused(400),
          forwarded(order(_GET_A), text="1 served")), responses=2),
    Case("pipeline-bad-first", "a valid request behind a bad one is not served", _SOURCE,
         (request(b"X-A : 1") + _B,), (refused(400), DROPPED), (refused(400),)),
    Case("pipeline-too-large-first", "a request behind a body that is too large", _SOURCE,
         (post(b"Content-Length: 2000000", body=b"x" * 1000), half_close_if_silent),
         (refused(413), DROPPED), (refused(413),)),
    Case("pipeline-same-fields", "requests with equal fields are still requests of their own",
         "design", (_A + _A,),
         (forwarded(_ids_differ, origin_targets(b"/t/a", b"/t/a"), statuses=(200, 200)),),
         responses=2, gatewayd_only=True),
    Case("pipeline-same-fields-absolute", "equal fields, but absolute-form names another host",
         "RFC 9112 section 3.2.2",
         (_A, until_responses(1), request(target=b"http://other.test/t/b"), until_responses(2), _C),
         (forwarded(_hosts(b"gateway.test", b"other.test", b"gateway.test"),
                    statuses=(200, 200, 200)),
          then_refused(400)), responses=3),
    Case("pipeline-same-fields-1.0", "equal fields in HTTP/1.1, then in HTTP/1.0",
         "RFC 9112 section 9.3", (_A, until_responses(1), _A.replace(b"1.1\r", b"1.0\r")),
         (forwarded(statuses=(200, 200), closed=True),), responses=2),
    Case("pipeline-same-fields-bad-line", "equal fields behind a bad request line", _SOURCE,
         (_A, until_responses(1), _A.replace(b"/t/a", b"/t/a b")),
         (then_refused(400),), responses=2),
    Case("pipeline-not-found", "an answer of the proxy's own between two of the origin",
         _SOURCE, (_A + request(target=b"/none") + _B,),
         (forwarded(origin_targets(b"/t/a", b"/t/b"), statuses=(200, 404, 200), requests=2),
          forwarded(origin_targets(b"/t/a"), statuses=(200, 404), requests=1, closed=True)),
         responses=3),
    Case("pipeline-not-found-body", "the body of a request that is not found is no request",
         _SOURCE, (sized(_A, target=b"/none") + _B,),
         (forwarded(origin_targets(b"/t/b"), statuses=(404, 200), requests=1), refused(404)),
         responses=2),
)  # fmt: skip
