"""Fields that end at this hop, both ways, and Via (RFC 9110 sections 7.6.1 to 7.6.3 and 7.8)."""

from __future__ import annotations

from tests.conformance.case import Case
from tests.conformance.messages import request, sized
from tests.conformance.origin import answer, body
from tests.conformance.outcome import (
    MALFORMED,
    answered,
    client_field,
    client_has,
    content,
    forwarded,
    origin_content,
    origin_field,
    origin_has,
    origin_lacks,
    served_and_closed,
)

_SOURCE = "RFC 9110 section 7.6.1"


def _dropped(id_: str, title: str, *lines: bytes, name: str = "X-A") -> Case:
    """Return a case of a field that must not reach the origin."""
    outcome = forwarded(origin_lacks(name))
    steps = (request(*lines),)
    return Case(f"hop-{id_}", title, _SOURCE, steps, (outcome, answered(403)), (outcome,))


def _essential(id_: str, title: str, name: str, needle: bytes, *lines: bytes) -> Case:
    """Return a case of a field that Connection cannot talk the proxy out of sending."""
    outcome = forwarded(origin_has(name, needle))
    return Case(f"hop-names-{id_}", title, _SOURCE, (request(*lines),), (outcome, *MALFORMED))


_REQUEST = (
    _dropped("named", "a field that Connection names", b"Connection: X-A", b"X-A: 1"),
    _dropped("named-close", "named beside close", b"Connection: close, X-A", b"X-A: 1"),
    _dropped("named-keep-alive", "named beside keep-alive", b"Connection: keep-alive, X-A",
             b"X-A: 1"),
    _dropped("named-case", "named in other case", b"connection: x-a", b"X-A: 1"),
    _dropped("named-second-line", "named on a second line of Connection", b"Connection: X-B",
             b"Connection: X-A", b"X-A: 1", b"X-B: 1"),
    _dropped("named-empty-elements", "named between empty list elements",
             b"Connection: , ,X-A,,", b"X-A: 1"),
    _dropped("named-tabs", "named with tabs around", b"Connection:\tX-A\t,\tX-B", b"X-A: 1"),
    _dropped("named-before", "the field stands before Connection", b"X-A: 1",
             b"Connection: X-A"),
    _dropped("named-lines", "a named field on two lines", b"X-A: 1", b"Connection: X-A",
             b"X-A: 2"),
    _dropped("named-upgrade", "named beside Upgrade", b"Connection: Upgrade, X-A",
             b"Upgrade: foo", b"X-A: 1"),
    _dropped("connection", "unknown connection options go no further",
             b"Connection: x-unknown", name="X-Unknown"),
    _dropped("keep-alive", "Keep-Alive", b"Keep-Alive: timeout=5, max=100", name="Keep-Alive"),
    _dropped("keep-alive-named", "Keep-Alive, named", b"Connection: Keep-Alive",
             b"Keep-Alive: timeout=5", name="Keep-Alive"),
    _dropped("proxy-connection", "Proxy-Connection", b"Proxy-Connection: keep-alive",
             name="Proxy-Connection"),
    _dropped("upgrade", "Upgrade without Connection", b"Upgrade: websocket", name="Upgrade"),
    _dropped("upgrade-unknown", "Upgrade to an unknown protocol", b"Connection: Upgrade",
             b"Upgrade: foo/2", name="Upgrade"),
    Case("hop-te", "TE ends here; the proxy may send its own", _SOURCE,
         (request(b"Connection: TE", b"TE: trailers, deflate;q=0.5"),),
         (forwarded(origin_lacks("TE", b"deflate")),)),
    Case("hop-te-unnamed", "TE that Connection does not name", "RFC 9110 section 10.1.4",
         (request(b"TE: gzip"),), (forwarded(origin_lacks("TE", b"gzip")),)),
    Case("hop-connection-not-forwarded", "the client's Connection is not the origin's", _SOURCE,
         (request(b"Connection: keep-alive, X-A"),),
         (forwarded(origin_lacks("Connection", b"X-A", b"x-a")),)),
    Case("hop-close", "`close` of the client is not the origin's", _SOURCE,
         (request(b"Connection: close"),), (served_and_closed(),)),
    Case("hop-close-case", "`Close` in any case", "RFC 9110 section 7.6.1",
         (request(b"Connection: ClOsE"),), (served_and_closed(),)),
    Case("hop-keep-alive-and-close", "close wins over keep-alive", "RFC 9112 section 9.3",
         (request(b"Connection: keep-alive, close"),), (served_and_closed(),)),
    Case("hop-close-second-line", "close on a second line", "RFC 9112 section 9.3",
         (request(b"Connection: keep-alive", b"Connection: close"),), (served_and_closed(),)),
    Case("hop-proxy-connection-close", "Proxy-Connection: close has no meaning",
         "RFC 9112 appendix C.2.2", (request(b"Proxy-Connection: close"),),
         (forwarded(), served_and_closed())),
    Case("hop-connection-malformed", "a Connection option that is no token",
         "RFC 9110 section 5.6.2", (request(b"Connection: X A"),), (forwarded(), *MALFORMED)),
    Case("hop-connection-long", "Connection with 500 names", _SOURCE,
         (request(b"Connection: " + b", ".join(b"X-%d" % n for n in range(500)), b"X-A: 1"),),
         (forwarded(origin_field("X-A", b"1")), *MALFORMED)),
)  # fmt: skip

_ESSENTIALS = (
    _essential("host", "Connection names Host: it still goes", "Host", b"gateway.test",
               b"Connection: Host"),
    _essential("forwarded-for", "Connection names X-Forwarded-For: the proxy's own stays",
               "X-Forwarded-For", b".", b"Connection: X-Forwarded-For"),
    _essential("forwarded-proto", "Connection names X-Forwarded-Proto likewise",
               "X-Forwarded-Proto", b"http", b"Connection: close, X-Forwarded-Proto"),
    _essential("spoof", "Connection names X-Forwarded-For, and the client sends one",
               "X-Forwarded-For", b".", b"Connection: X-Forwarded-For",
               b"X-Forwarded-For: 6.6.6.6"),
    Case("hop-names-length", "Connection names Content-Length: the body stays whole", _SOURCE,
         (sized(b"hello", b"Connection: Content-Length"),),
         (forwarded(origin_content(b"hello")), *MALFORMED)),
    Case("hop-names-via", "Connection names Via: the proxy's own stays",
         "RFC 9110 section 7.6.3", (request(b"Connection: Via", b"Via: 1.1 a"),),
         (forwarded(origin_has("Via")), *MALFORMED), gatewayd_only=True),
    Case("hop-names-request-id", "Connection names X-Request-Id: the proxy's own stays", _SOURCE,
         (request(b"Connection: X-Request-Id"),),
         (forwarded(origin_has("X-Request-Id")), *MALFORMED), gatewayd_only=True),
    Case("hop-names-underscore", "Connection names X_Forwarded_For", _SOURCE,
         (request(b"Connection: X_Forwarded_For"),),
         (forwarded(origin_has("X-Forwarded-For", b".")), *MALFORMED)),
)  # fmt: skip

_VIA = "RFC 9110 section 7.6.3"
_VIA_CASES = (
    Case("via", "Via is added to requests", _VIA, (request(),),
         (forwarded(origin_has("Via", b"1.1 ")),)),
    Case("via-append", "Via is appended to what is there", _VIA,
         (request(b"Via: 1.0 first, 1.1 second"),),
         (forwarded(origin_has("Via", b"1.0 first, 1.1 second, 1.1 ")),
          forwarded(origin_has("Via", b"1.0 first, 1.1 second,1.1 ")))),
    Case("via-1.0", "Via names the version of the request that was received", _VIA,
         (request(version=b"HTTP/1.0"),), (forwarded(origin_has("Via", b"1.0 ")),)),
    Case("max-forwards-0", "OPTIONS with Max-Forwards: 0 goes no further",
         "RFC 9110 section 7.6.2", (request(b"Max-Forwards: 0", method=b"OPTIONS"),),
         (answered(200, 204, 400, 404, 405, 501),)),
    Case("max-forwards-trace", "TRACE with Max-Forwards: 0 goes no further",
         "RFC 9110 section 7.6.2", (request(b"Max-Forwards: 0", method=b"TRACE"),),
         (answered(200, 400, 403, 404, 405, 501),)),
    Case("max-forwards-5", "OPTIONS with Max-Forwards: 5 goes on with 4",
         "RFC 9110 section 7.6.2", (request(b"Max-Forwards: 5", method=b"OPTIONS"),),
         (forwarded(origin_field("Max-Forwards", b"4")),)),
    Case("max-forwards-get", "Max-Forwards of other methods may be ignored",
         "RFC 9110 section 7.6.2", (request(b"Max-Forwards: 0"),), (forwarded(),)),
)  # fmt: skip


def _response(id_: str, title: str, lines: tuple[bytes, ...], name: str) -> Case:
    """Return a case of a field of a response that must not reach the client."""
    outcome = forwarded(client_field(name, None), content(b"ok"))
    reply = (body, answer(b"ok", *lines))
    return Case(f"hop-response-{id_}", title, _SOURCE, (request(),), (outcome,), replies=(reply,))


_RESPONSE = (
    _response("named", "a field that Connection names", (b"Connection: X-A", b"X-A: 1"), "X-A"),
    _response("named-close", "named beside close", (b"Connection: close, x-a", b"X-A: 1"),
              "X-A"),
    _response("named-lines", "named on a second line",
              (b"Connection: close", b"X-A: 1", b"Connection: X-A"), "X-A"),
    _response("keep-alive", "Keep-Alive", (b"Keep-Alive: timeout=77",), "Keep-Alive"),
    _response("proxy-connection", "Proxy-Connection", (b"Proxy-Connection: keep-alive",),
              "Proxy-Connection"),
    _response("upgrade", "Upgrade in a response that does not switch",
              (b"Connection: Upgrade", b"Upgrade: h2c"), "Upgrade"),
    _response("te", "TE in a response", (b"Connection: TE", b"TE: trailers"), "TE"),
    Case("hop-response-close", "`close` of the origin is not the client's", _SOURCE,
         (request(),), (forwarded(content(b"ok")),), (forwarded(content(b"ok"), closed=False),),
         replies=((body, answer(b"ok", b"Connection: close")),)),
    Case("hop-response-names-length", "Connection names Content-Length: the body stays whole",
         _SOURCE, (request(),), (forwarded(content(b"ok")), answered(502)),
         (forwarded(content(b"ok")),),
         replies=((body, answer(b"ok", b"Connection: Content-Length")),)),
    Case("hop-response-end-to-end", "fields that nobody names go on", "RFC 9110 section 7.6",
         (request(),),
         (forwarded(client_field("X-A", b"1"), client_field("ETag", b'"x"'),
                    client_field("Cache-Control", b"no-store")),),
         replies=((body, answer(b"ok", b"X-A: 1", b'ETag: "x"', b"Cache-Control: no-store")),)),
    Case("hop-response-request-id", "X-Request-Id is told to the client", "design",
         (request(),), (forwarded(client_has("X-Request-Id")),), gatewayd_only=True),
)  # fmt: skip

CASES = (*_REQUEST, *_ESSENTIALS, *_VIA_CASES, *_RESPONSE)
