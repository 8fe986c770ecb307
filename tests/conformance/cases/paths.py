"""Path normalisation: what is matched is what goes upstream, however an origin may read it.

``/public`` is open and ``/admin`` is not routed at all. A path that gets through must not lead out
of ``/public``, neither as it stands nor as a lenient origin may read it: one that decodes twice,
takes a backslash for a slash, cuts off ``;parameters`` or decodes overlong UTF-8.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from tests.conformance.case import Case
from tests.conformance.messages import request
from tests.conformance.outcome import DROPPED, answered, forwarded, origin_targets, refused

if TYPE_CHECKING:
    from tests.conformance.case import Observation, Outcome

_DOTS = "RFC 3986 section 5.2.4"
_ENCODING = "RFC 3986 section 6.2.2"
# What overlong UTF-8 may be decoded to; the last but one is a backslash, and that may be a slash.
_OVERLONG = {b"\xc0\xae": b".", b"\xc0\xaf": b"/", b"\xc1\x9c": b"/", b"\xe0\x80\xae": b"."}


def _lenient_readings(target: bytes) -> list[bytes]:
    """Return the paths that lenient origins may make of a target."""
    readings = []
    path = target.partition(b"?")[0]
    for _ in range(3):
        path = unquote_to_bytes(path)
        flat = path.replace(b"\\", b"/")
        for overlong, character in _OVERLONG.items():
            flat = flat.replace(overlong, character)
        readings += [_resolved(flat), _resolved(re.sub(rb";[^/]*", b"", flat))]
    return readings


def _resolved(path: bytes) -> bytes:
    kept: list[bytes] = []
    for segment in path.split(b"\x00")[0].split(b"/"):
        if segment == b"..":
            kept = kept[:-1]
        elif segment not in (b"", b"."):
            kept.append(segment)
    return b"/" + b"/".join(kept)


def confined(seen: Observation) -> str | None:
    """Check that no reading of a path at the origin leads out of ``/public``."""
    for received in seen.requests:
        for reading in _lenient_readings(received.target):
            if reading.split(b"/")[1].partition(b";")[0] != b"public":
                return f"{received.target!r} may be read as {reading!r}"
    return None


def _elsewhere(*statuses: int) -> tuple[Outcome, ...]:
    return (answered(*(statuses or (400, 403, 404))), refused(400), DROPPED)


def _passes(id_: str, title: str, target: bytes, *accepted: bytes, source: str = _ENCODING) -> Case:
    """Return a case of a harmless path that arrives as it is or as one of ``accepted``.

    gatewayd sends the first of these, or else the path as it is.
    """
    targets = (*accepted, target)
    outcomes = tuple(forwarded(origin_targets(one), confined) for one in targets)
    steps = (request(target=target),)
    return Case(f"path-{id_}", title, source, steps, outcomes, outcomes[:1])


def _escapes(id_: str, title: str, target: bytes, *ours: int, source: str = _DOTS) -> Case:
    """Return a case of a path that tries to get out; ``ours`` are gatewayd's statuses, if any."""
    accept = (*_elsewhere(), forwarded(confined, text="forwarded within /public"))
    steps = (request(target=target),)
    chosen = (answered(*ours),) if ours else None
    return Case(f"path-{id_}", title, source, steps, accept, chosen)


_HARMLESS = (
    _passes("plain", "a plain path", b"/public/a/b"),
    _passes("itself", "the prefix itself", b"/public"),
    _passes("slash", "the prefix with a slash", b"/public/"),
    _passes("inner-dots", "dots that are no dot segments", b"/public/..a/b../...", source=_DOTS),
    _passes("dot-file", "a name that starts with a dot", b"/public/.well-known/x", source=_DOTS),
    _passes("dot", "one dot is nothing", b"/public/./a", b"/public/a", source=_DOTS),
    _passes("dot-dot", "two dots within the prefix", b"/public/a/../b", b"/public/b",
            source=_DOTS),
    _passes("dot-at-end", "a dot at the end", b"/public/a/.", b"/public/a/", source=_DOTS),
    _passes("dot-dot-at-end", "two dots at the end", b"/public/a/..", b"/public/", b"/public",
            source=_DOTS),
    _passes("encoded-dot", "an encoded dot", b"/public/%2e/a", b"/public/a"),
    _passes("encoded-dot-dot", "encoded dots within the prefix", b"/public/a/%2e%2E/b",
            b"/public/b"),
    _passes("dot-in", "dots that lead in", b"/x/../public/a", b"/public/a", source=_DOTS),
    _passes("double-slash", "two slashes", b"/public//a", b"/public/a", b"/public//a",
            source="RFC 3986 section 3.3"),
    _passes("many-slashes", "many slashes", b"/public////a///b", b"/public/a/b",
            b"/public////a///b", source="RFC 3986 section 3.3"),
    _passes("unreserved", "encoded letters", b"/public/%61%7E", b"/public/a~", b"/public/%61%7E"),
    _passes("encoded-prefix", "an encoded letter of the prefix", b"/%70ublic/a", b"/public/a"),
    _passes("utf-8", "encoded UTF-8 stays", b"/public/%C3%A9"),
    _passes("lower-hex", "hexadecimal digits in lower case", b"/public/%c3%a9", b"/public/%C3%A9",
            b"/public/%c3%a9"),
    _passes("encoded-question", "an encoded question mark stays", b"/public/a%3Fb"),
    _passes("encoded-hash", "an encoded hash stays", b"/public/a%23b"),
    _passes("encoded-semicolon", "an encoded semicolon stays", b"/public/a%3Bb"),
    _passes("encoded-space", "an encoded space stays", b"/public/a%20b"),
    _passes("encoded-percent", "an encoded percent sign stays", b"/public/100%25"),
    _passes("encoded-plus", "an encoded plus stays", b"/public/a%2Bb"),
    _passes("plus", "a plus stays", b"/public/a+b"),
    _passes("sub-delims", "characters that a segment may have", b"/public/!$&'()*+,=:@~-._"),
    _passes("parameter", "a path parameter", b"/public/a;v=1/b"),
    _passes("empty-query", "an empty query", b"/public/a?", b"/public/a?", b"/public/a"),
    _passes("query-dots", "dots in the query are no path", b"/public/a?b=/../../admin"),
    _passes("query-encoded", "an encoded query stays", b"/public/a?b=%2e%2e%2F%00%zz",
            b"/public/a?b=%2e%2e%2F%00%zz", b"/public/a?b=..%2F%00%zz"),
    _passes("query-slashes", "slashes in the query stay", b"/public/a?next=//evil.test/"),
    _passes("query-question", "question marks in the query stay", b"/public/a?b?c?"),
    _passes("query-latin-1", "encoded Latin-1 in the query stays", b"/public/a?b=%E9"),
    Case("path-odd-characters", "characters that no URI has: as they are, encoded, or refused",
         "RFC 3986 section 2", (request(target=b'/public/a"<>^`{|}'),),
         (forwarded(origin_targets(b'/public/a"<>^`{|}')),
          forwarded(origin_targets(b"/public/a%22%3C%3E%5E%60%7B%7C%7D")), refused(400))),
)  # fmt: skip

_OUTSIDE = (
    _escapes("other", "a path that is not routed", b"/admin", 404, source="design"),
    _escapes("case", "paths are case-sensitive", b"/Public/a", 404,
             source="RFC 3986 section 6.2.2.1"),
    _escapes("prefix-of-segment", "a longer first segment", b"/publicity", 404, source="design"),
    _escapes("first-parameter", "a parameter of the prefix", b"/public;x/a",
             source="RFC 3986 section 3.3"),
    _escapes("empty-first", "an empty first segment", b"//admin", 404),
    _escapes("authority-like", "what looks like an authority", b"//public/../admin", 404),
    _escapes("encoded-letter", "an encoded letter", b"/%61dmin", 404),
)  # fmt: skip

_DOT_SEGMENTS = (
    _escapes("up", "dots", b"/public/../admin", 404),
    _escapes("up-twice", "dots twice", b"/public/a/../../admin", 404),
    _escapes("up-end", "dots at the end", b"/public/..", 404),
    _escapes("above-root", "dots above the root", b"/../../admin", 400, 404),
    _escapes("above-root-public", "dots above the root, then in", b"/public/../../public/../admin",
             400, 404),
    _escapes("dot-up", "a dot between", b"/public/./../admin", 404),
    _escapes("slashes-up", "slashes between", b"/public//../admin", 404),
    _escapes("slashes-up-twice", "slashes and dots", b"/public//..//..//admin", 400, 404),
    _escapes("encoded", "%2e%2e", b"/public/%2e%2e/admin", 404),
    _escapes("encoded-upper", "%2E%2E", b"/public/%2E%2E/admin", 404),
    _escapes("encoded-mixed", ".%2e", b"/public/.%2e/admin", 404),
    _escapes("encoded-mixed-2", "%2e.", b"/public/%2e./admin", 404),
    _escapes("encoded-end", "%2e%2e at the end", b"/public/%2e%2e", 404),
    _escapes("absolute-form", "dots in absolute-form", b"http://gateway.test/public/../admin",
             404),
    _escapes("query-behind", "dots, then a query", b"/public/../admin?/public/", 404),
    _escapes("question-encoded", "an encoded question mark hides dots",
             b"/public/%3f/../../admin", 404),
    _escapes("hash-encoded", "an encoded hash hides dots", b"/public/%23/../../admin", 404),
)  # fmt: skip

_SLASHES = (
    _escapes("encoded-slash", "..%2f", b"/public/..%2fadmin", 400, source=_ENCODING),
    _escapes("encoded-slash-upper", "..%2F", b"/public/..%2Fadmin", 400, source=_ENCODING),
    _escapes("all-encoded", "%2e%2e%2f", b"/public/%2e%2e%2fadmin", 400, source=_ENCODING),
    _escapes("slash-before", "%2f..", b"/public%2f../admin", 400, source=_ENCODING),
    _escapes("encoded-slash-inside", "%2f without dots", b"/public%2fa", 400, source=_ENCODING),
    _escapes("encoded-slash-first", "/%2fadmin", b"/%2fadmin", 400, source=_ENCODING),
    _escapes("backslash", r"..\ ", b"/public/..\\admin", 400, source=_ENCODING),
    _escapes("backslash-first", r"\..", b"/public\\..\\admin", 400, source=_ENCODING),
    _escapes("encoded-backslash", "..%5c", b"/public/..%5cadmin", 400, source=_ENCODING),
    _escapes("encoded-backslash-upper", "..%5C..%5C", b"/public/..%5C..%5Cadmin", 400,
             source=_ENCODING),
    _escapes("mixed-slashes", "%5c and %2f", b"/public/%5c..%2fadmin", 400, source=_ENCODING),
)  # fmt: skip

_DOUBLE = (
    _escapes("double", "%252e%252e", b"/public/%252e%252e/admin", 400, source=_ENCODING),
    _escapes("double-slash-encoded", "..%252f", b"/public/..%252fadmin", 400, source=_ENCODING),
    _escapes("double-backslash", "..%255c", b"/public/..%255cadmin", 400, source=_ENCODING),
    _escapes("triple", "%25252e", b"/public/%25252e%25252e/admin", 400, source=_ENCODING),
    _escapes("half-double", "%2%65", b"/public/%2%65%2%65/admin", 400, source=_ENCODING),
    _escapes("split-double", "%%32%65", b"/public/%%32%65%%32%65/admin", 400, source=_ENCODING),
    _escapes("encoded-double", "%25%32%65", b"/public/%25%32%65%25%32%65/admin", 400,
             source=_ENCODING),
)  # fmt: skip

_PARAMETERS = (
    _escapes("dots-semicolon", "..;", b"/public/..;/admin", 400),
    _escapes("dots-parameter", "..;a=b", b"/public/..;a=b/admin", 400),
    _escapes("encoded-dots-semicolon", "%2e%2e;", b"/public/%2e%2e;/admin", 400),
    _escapes("dots-encoded-semicolon", "..%3b", b"/public/..%3b/admin", 400),
    _escapes("dot-semicolon", ".;/..", b"/public/.;/../admin", 400, 404),
    _escapes("semicolon-dots", ";/../", b"/public/;/../../admin", 400, 404),
    _escapes("prefix-semicolon", "/public;/../admin", b"/public;/../admin", 400, 404),
)  # fmt: skip

_BYTES = (
    _escapes("nul", "%00", b"/public/%00", 400, source=_ENCODING),
    _escapes("nul-dots", "%00 behind dots", b"/public/..%00/admin", 400, source=_ENCODING),
    _escapes("crlf", "%0d%0a", b"/public/%0d%0aX-Evil:%201", 400, source=_ENCODING),
    _escapes("tab", "%09 behind dots", b"/public/..%09/admin", 400, source=_ENCODING),
    _escapes("del", "%7f", b"/public/%7f", 400, source=_ENCODING),
    _escapes("raw-nul", "NUL", b"/public/\x00/../admin", 400, source=_ENCODING),
    _escapes("bad-hex", "%zz", b"/public/%zz", 400, source="RFC 3986 section 2.1"),
    _escapes("bad-end", "% at the end", b"/public/a%", 400, source="RFC 3986 section 2.1"),
    _escapes("bad-one-digit", "%2 at the end", b"/public/a%2", 400, source="RFC 3986 section 2.1"),
    _escapes("bad-unicode", "%u002e", b"/public/%u002e%u002e/admin", 400,
             source="RFC 3986 section 2.1"),
    _escapes("overlong-dot", "overlong UTF-8 dots", b"/public/%c0%ae%c0%ae/admin", 400, 404,
             source="RFC 3629 section 10"),
    _escapes("overlong-slash", "overlong UTF-8 slash", b"/public/..%c0%afadmin", 400, 404,
             source="RFC 3629 section 10"),
    _escapes("overlong-backslash", "overlong UTF-8 backslash", b"/public/..%c1%9cadmin", 400, 404,
             source="RFC 3629 section 10"),
    _escapes("overlong-three", "dots of three bytes", b"/public/%e0%80%ae%e0%80%ae/admin", 400,
             404, source="RFC 3629 section 10"),
)  # fmt: skip

CASES = (*_HARMLESS, *_OUTSIDE, *_DOT_SEGMENTS, *_SLASHES, *_DOUBLE, *_PARAMETERS, *_BYTES)
