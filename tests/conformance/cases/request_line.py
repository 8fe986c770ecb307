"""Request lines: their grammar, versions and forms of the target (RFC 9112 section 3)."""

from __future__ import annotations

from tests.conformance.case import Case, Outcome
from tests.conformance.client import half_close
from tests.conformance.messages import HOST, request, sized
from tests.conformance.outcome import (
    DROPPED,
    MALFORMED,
    answered,
    forwarded,
    origin_field,
    origin_methods,
    origin_targets,
    refused,
    served_and_closed,
)

_LINES = b"\r\n" + HOST + b"\r\n\r\n"
_BAD = (refused(400),)
_VERSION = (refused(400, 505, 426), DROPPED)


def _blank(id_: str, title: str, start: bytes) -> Case:
    """Return a case of odd white space, which a lenient recipient may take for one space."""
    accept = (*MALFORMED, forwarded(origin_targets(b"/t/")))
    return Case(id_, title, "RFC 9112 section 3", (start + _LINES,), accept, _BAD)


def _bad(id_: str, title: str, start: bytes, source: str = "RFC 9112 section 3") -> Case:
    return Case(id_, title, source, (start + _LINES,), MALFORMED, _BAD)


_VALID = (
    Case("get", "a plain GET", "RFC 9110 section 9.3.1", (request(),), (forwarded(),)),
    Case(
        "query", "a query goes on untouched", "RFC 9110 section 4.2.2",
        (request(target=b"/t/a?b=c&d=/../e?f"),),
        (forwarded(origin_targets(b"/t/a?b=c&d=/../e?f")),),
    ),
    *(
        Case(
            f"method-{method.lower()}", f"method {method}", "RFC 9110 section 9.3",
            (sized(b"", method=method.encode()),),
            (forwarded(origin_methods(method.encode())),),
        )
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS")
    ),
    *(
        Case(
            f"method-{name}", f"unregistered method {method}", "RFC 9110 section 9.1",
            (sized(b"", method=method.encode()),),
            (forwarded(origin_methods(method.encode())), refused(400, 405, 501),
             answered(400, 405, 501)),
        )
        for name, method in (("extension", "PROPFIND"), ("hyphen", "M-SEARCH"),
                             ("all-token-characters", "!#$%&'*+-.^_`|~9z"))
    ),
    Case(
        "method-lower-case", "methods are case-sensitive: `get` is not GET",
        "RFC 9110 section 9.1", (request(method=b"get"),),
        (forwarded(origin_methods(b"get")), answered(400, 405, 501)),
    ),
    Case(
        "leading-crlf", "one empty line before the request", "RFC 9112 section 2.2",
        (b"\r\n" + request(),), (forwarded(), refused(400)), (forwarded(),),
    ),
    Case(
        "http-1.0", "HTTP/1.0 without Host", "RFC 9112 section 3.2",
        (request(version=b"HTTP/1.0", host=None),),
        (served_and_closed(), answered(400, 404, closed=True)), (served_and_closed(),),
    ),
    Case(
        "http-1.2", "a minor version of the future counts as 1.1", "RFC 9110 section 2.5",
        (request(version=b"HTTP/1.2"),), (forwarded(), *_VERSION),
    ),
    Case(
        "target-7900", "a target of 7,900 bytes: 8,000 are the least to support",
        "RFC 9112 section 3", (request(target=b"/t/" + b"a" * 7897),), (forwarded(),),
    ),
)  # fmt: skip

_WHITE_SPACE = (
    _blank("two-spaces-after-method", "two spaces after the method", b"GET  /t/ HTTP/1.1"),
    _blank("two-spaces-before-version", "two spaces before the version", b"GET /t/  HTTP/1.1"),
    _blank("tab-after-method", "tab after the method", b"GET\t/t/ HTTP/1.1"),
    _blank("tab-before-version", "tab before the version", b"GET /t/\tHTTP/1.1"),
    _blank("vertical-tab", "vertical tab after the method", b"GET\x0b/t/ HTTP/1.1"),
    _blank("form-feed", "form feed before the version", b"GET /t/\x0cHTTP/1.1"),
    _blank("space-at-start", "space before the method", b" GET /t/ HTTP/1.1"),
    _blank("space-at-end", "space behind the version", b"GET /t/ HTTP/1.1 "),
    _blank("tab-at-end", "tab behind the version", b"GET /t/ HTTP/1.1\t"),
    _bad("space-in-target", "space in the target", b"GET /t/a b HTTP/1.1"),
    _blank("bare-cr-in-line", "bare CR instead of a space", b"GET\r/t/ HTTP/1.1"),
    _blank("cr-before-crlf", "two CR before the LF", b"GET /t/ HTTP/1.1\r"),
    _bad("cr-as-line-end", "bare CR as line end", b"GET /t/ HTTP/1.1\rX-A: 1"),
    _bad("cr-in-target", "bare CR in the target", b"GET /t/\ra HTTP/1.1"),
    _bad("nul-in-target", "NUL in the target", b"GET /t/\x00a HTTP/1.1"),
    _bad("nul-in-method", "NUL in the method", b"G\x00T /t/ HTTP/1.1"),
    _bad("nul-at-start", "NUL before the method", b"\x00GET /t/ HTTP/1.1"),
    _bad("control-in-target", "control character in the target", b"GET /t/\x01 HTTP/1.1"),
    _bad("del-in-target", "DEL in the target", b"GET /t/\x7f HTTP/1.1"),
    Case("utf-8-in-target", "raw UTF-8 in the target: refused, or encoded", "RFC 3986 section 2.1",
         (request(target=b"/t/\xc3\xa9"),),
         (*MALFORMED, forwarded(origin_targets(b"/t/%C3%A9")))),
    Case("latin-1-in-target", "raw Latin-1 in the target likewise", "RFC 3986 section 2.1",
         (request(target=b"/t/\xe9"),), (*MALFORMED, forwarded(origin_targets(b"/t/%E9")))),
    _bad("method-colon", "method with a colon", b"GE:T /t/ HTTP/1.1"),
    _bad("method-brackets", "method with brackets", b"GET[] /t/ HTTP/1.1"),
    _bad("method-non-ascii", "method with a non-ASCII letter", b"G\xc3\x89T /t/ HTTP/1.1"),
    _bad("no-method", "no method", b"/t/ HTTP/1.1"),
    _bad("no-target", "no target", b"GET HTTP/1.1"),
    _bad("one-word", "one word only", b"GET"),
    Case(
        "bare-lf", "LF alone as line end", "RFC 9112 section 2.2",
        (request().replace(b"\r\n", b"\n"),), (forwarded(), *MALFORMED), _BAD,
    ),
    Case(
        "bare-lf-request-line", "LF alone behind the request line only", "RFC 9112 section 2.2",
        (request().replace(b"\r\n", b"\n", 1),), (forwarded(), *MALFORMED), _BAD,
    ),
    Case(
        "crlf-and-garbage", "empty lines, then no request", "RFC 9112 section 2.2",
        (b"\r\n\r\n\x01\x02\r\n\r\n",), MALFORMED, MALFORMED,
    ),
)  # fmt: skip

_VERSIONS = (
    *(
        Case(
            f"version-{name}", f"version `{version.decode()}`", "RFC 9112 section 2.3",
            (request(version=version),), _VERSION,
        )
        for name, version in (
            ("0.9", b"HTTP/0.9"), ("2.0", b"HTTP/2.0"), ("3.0", b"HTTP/3.0"), ("2", b"HTTP/2"),
            ("9.9", b"HTTP/9.9"), ("two-digits", b"HTTP/1.10"), ("leading-zero", b"HTTP/01.1"),
            ("no-minor", b"HTTP/1"), ("no-digit", b"HTTP/1."), ("no-major", b"HTTP/.1"),
            ("no-dot", b"HTTP/11"), ("comma", b"HTTP/1,1"), ("letter", b"HTTP/1.x"),
            ("negative", b"HTTP/-1.1"), ("lower-case", b"http/1.1"), ("https", b"HTTPS/1.1"),
            ("other-protocol", b"RTSP/1.0"), ("space", b"HTTP /1.1"), ("suffix", b"HTTP/1.1x"),
            ("nul", b"HTTP/1.1\x00"), ("long", b"HTTP/1." + b"1" * 4000), ("icy", b"ICE/1.0"),
        )
    ),
    Case(
        "http-0.9-simple", "the simple request of HTTP/0.9", "RFC 9112 section 2.3",
        (b"GET /t/\r\n\r\n",), MALFORMED, _BAD,
    ),
    Case(
        "http-0.9-with-fields", "no version, but header fields", "RFC 9112 section 3",
        (b"GET /t/" + _LINES,), MALFORMED, _BAD,
    ),
    Case(
        "http-2-preface", "the connection preface of HTTP/2", "RFC 9113 section 3.4",
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",), _VERSION,
    ),
    Case(
        "tls-client-hello", "a TLS handshake on the plain port", "RFC 9112 section 2.2",
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n",), MALFORMED, MALFORMED,
    ),
    Case(
        "nothing", "a connection that sends nothing", "RFC 9112 section 9.5",
        (half_close,), (DROPPED, refused(400, 408)), (DROPPED,), responses=0,
    ),
    Case(
        "incomplete-line", "the client leaves within the request line", "RFC 9112 section 8",
        (b"GET /t", half_close), (DROPPED, refused(400)), responses=0, probe=False,
    ),
)  # fmt: skip


def _absolute(id_: str, title: str, target: bytes, *accept: Outcome) -> Case:
    return Case(id_, title, "RFC 9112 section 3.2.2", (request(target=target),), accept)


_FORMS = (
    _absolute("absolute", "absolute-form", b"http://gateway.test/t/a?b",
              forwarded(origin_targets(b"/t/a?b"), origin_field("Host", b"gateway.test"))),
    _absolute("absolute-upper-scheme", "scheme in upper case", b"HTTP://gateway.test/t/",
              forwarded(origin_targets(b"/t/")), refused(400)),
    _absolute("absolute-wins", "the target's authority wins over the Host field",
              b"http://other.test/t/", forwarded(origin_field("Host", b"other.test")),
              refused(400)),
    _absolute("absolute-port", "authority with a port", b"http://gateway.test:8080/t/",
              forwarded(origin_field("Host", b"gateway.test:8080", b"gateway.test")),
              refused(400)),
    _absolute("absolute-userinfo", "userinfo must not become part of Host",
              b"http://user:pw@gateway.test/t/", forwarded(origin_field("Host", b"gateway.test")),
              refused(400)),
    _absolute("absolute-https", "https target on a plain connection", b"https://gateway.test/t/",
              forwarded(origin_field("Host", b"gateway.test")), refused(400),
              answered(403, 421)),
    _absolute("absolute-empty-host", "no authority", b"http:///t/", *MALFORMED),
    _absolute("absolute-bad-port", "port that is no number", b"http://gateway.test:8x/t/",
              *MALFORMED),
    _absolute("absolute-big-port", "port above 65535", b"http://gateway.test:99999/t/",
              *MALFORMED),
    _absolute("absolute-no-path", "no path: the root, which is not found", b"http://gateway.test",
              answered(404), refused(400)),
    _absolute("absolute-other-scheme", "a scheme that is not HTTP", b"ftp://gateway.test/t/",
              *MALFORMED, answered(404)),
    Case("absolute-without-host", "absolute-form does not replace the Host field",
         "RFC 9112 section 3.2", (request(target=b"http://gateway.test/t/", host=None),),
         MALFORMED, _BAD),
    _bad("authority-form", "authority-form without CONNECT", b"GET gateway.test:80 HTTP/1.1"),
    _bad("relative-target", "relative target", b"GET t/ HTTP/1.1"),
    _bad("query-only-target", "target that starts with its query", b"GET ?x HTTP/1.1"),
    _bad("fragment", "fragment in the target", b"GET /t/#fragment HTTP/1.1"),
    _bad("asterisk-get", "asterisk-form without OPTIONS", b"GET * HTTP/1.1",
         "RFC 9112 section 3.2.4"),
    Case("asterisk-options", "OPTIONS for the whole server", "RFC 9112 section 3.2.4",
         (request(method=b"OPTIONS", target=b"*"),),
         (answered(200, 204, 400, 404, 405, 501), forwarded(origin_targets(b"*")))),
    Case("connect", "CONNECT makes no tunnel", "RFC 9110 section 9.3.6",
         (request(method=b"CONNECT", target=b"gateway.test:443"),),
         (answered(400, 403, 404, 405, 501), DROPPED)),
    Case("connect-origin-form", "CONNECT with a path", "RFC 9112 section 3.2.3",
         (request(method=b"CONNECT", target=b"/t/"),),
         (answered(400, 403, 404, 405, 501), DROPPED)),
    Case("trace", "TRACE", "RFC 9110 section 9.3.8", (request(method=b"TRACE"),),
         (forwarded(origin_methods(b"TRACE")), answered(400, 403, 405, 501))),
)  # fmt: skip

_LIMITS = (
    Case("target-too-long", "a target of 9,000 bytes", "RFC 9110 section 15.5.15",
         (request(target=b"/t/" + b"a" * 8997),), (forwarded(), refused(400, 414, 431)),
         (refused(414),)),
    Case("query-too-long", "a query of 9,000 bytes", "RFC 9110 section 15.5.15",
         (request(target=b"/t/?" + b"a" * 8997),), (forwarded(), refused(400, 414, 431)),
         (refused(414),)),
    Case("target-100k", "a target of 100,000 bytes", "RFC 9110 section 15.5.15",
         (request(target=b"/t/" + b"a" * 100_000),), (refused(400, 414, 431), DROPPED),
         (refused(414),)),
    Case("endless-line", "100,000 bytes without a line end", "RFC 9112 section 3",
         (b"GET /t/" + b"a" * 100_000,), (refused(400, 414, 431), DROPPED), (refused(414),)),
    Case("long-method", "a method of 5,000 bytes", "RFC 9112 section 3",
         (request(method=b"A" * 5000),),
         (refused(400, 405, 414, 431, 501), answered(405, 501), DROPPED,
          forwarded(origin_methods(b"A" * 5000)))),
    Case("endless-method", "a method of 100,000 bytes", "RFC 9112 section 3",
         (b"A" * 100_000,), (refused(400, 405, 414, 431, 501), DROPPED)),
)  # fmt: skip

CASES = (*_VALID, *_WHITE_SPACE, *_VERSIONS, *_FORMS, *_LIMITS)
