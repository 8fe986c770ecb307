"""Transfer-Encoding in requests: chunked, once, last, spelled right (RFC 9112 sections 6.1, 6.3).

Each odd spelling comes twice: alone, and beside a Content-Length that says otherwise, which is how
requests are smuggled past two parsers that disagree about which holds (TE.CL, CL.TE, TE.TE).
"""

from __future__ import annotations

from tests.conformance.case import Case
from tests.conformance.messages import HELLO, SMUGGLED, chunked, post, request
from tests.conformance.outcome import (
    DROPPED,
    MALFORMED,
    forwarded,
    origin_content,
    origin_lacks,
    origin_targets,
    refused,
    served_and_closed,
    then_refused,
)

_SOURCE = "RFC 9112 section 6.3"
_REFUSED = (refused(400, 422, 501), DROPPED)
_OURS = (refused(400, 501),)
_BAD = (refused(400),)
_FIVE = origin_content(b"hello")

_NAME = b"Transfer-Encoding: "

# Spellings that are not exactly one "chunked": refuse.
_ODD: tuple[tuple[str, str, bytes], ...] = (
    ("xchunked", "letter in front", _NAME + b"xchunked"),
    ("chunkedx", "letter behind", _NAME + b"chunkedx"),
    ("chunk", "cut short", _NAME + b"chunk"),
    ("split", "space inside", _NAME + b"chu nked"),
    ("quoted", "quoted", _NAME + b'"chunked"'),
    ("single-quoted", "in single quotes", _NAME + b"'chunked'"),
    ("identity", "identity", _NAME + b"identity"),
    ("gzip", "gzip, not chunked", _NAME + b"gzip"),
    ("chunked-identity", "identity last", _NAME + b"chunked, identity"),
    ("chunked-gzip", "gzip last", _NAME + b"chunked, gzip"),
    ("identity-chunked", "identity first", _NAME + b"identity, chunked"),
    ("gzip-chunked", "gzip first", _NAME + b"gzip, chunked"),
    ("unknown-chunked", "unknown coding first", _NAME + b"cow, chunked"),
    ("chunked-chunked", "chunked twice", _NAME + b"chunked, chunked"),
    ("parameter", "with a parameter", _NAME + b"chunked;q=1"),
    ("colon", "with a second colon", _NAME + b": chunked"),
    ("semicolon", "semicolon instead of comma", _NAME + b"identity; chunked"),
    ("space-list", "space instead of comma", _NAME + b"identity chunked"),
    ("empty", "empty", b"Transfer-Encoding:"),
    ("comma", "a comma", _NAME + b","),
    ("vertical-tab-before", "vertical tab in front", _NAME + b"\x0bchunked"),
    ("vertical-tab-behind", "vertical tab behind", _NAME + b"chunked\x0b"),
    ("form-feed-before", "form feed in front", _NAME + b"\x0cchunked"),
    ("nul-before", "NUL in front", _NAME + b"\x00chunked"),
    ("nul-behind", "NUL behind", _NAME + b"chunked\x00"),
    ("nul-inside", "NUL inside", _NAME + b"chun\x00ked"),
    ("no-break-space", "Latin-1 no-break space in front", _NAME + b"\xa0chunked"),
    ("next-line", "Latin-1 NEL behind", _NAME + b"chunked\x85"),
    ("latin-1", "Latin-1 letter behind", _NAME + b"chunked\xff"),
    ("kelvin", "KELVIN SIGN for k, which lower() folds", _NAME + "chun\N{KELVIN SIGN}ed".encode()),
    ("two-lines", "two lines", _NAME + b"chunked\r\n" + _NAME + b"chunked"),
    (
        "line-identity-first",
        "identity on a line before",
        _NAME + b"identity\r\n" + _NAME + b"chunked",
    ),
    (
        "line-identity-last",
        "identity on a line behind",
        _NAME + b"chunked\r\n" + _NAME + b"identity",
    ),
    (
        "line-unknown-last",
        "unknown coding on a line behind",
        _NAME + b"chunked\r\n" + _NAME + b"cow",
    ),
    ("line-empty-first", "an empty line before", b"Transfer-Encoding:\r\n" + _NAME + b"cow"),
    ("space-before-colon", "space before the colon", b"Transfer-Encoding : chunked"),
    ("tab-before-colon", "tab before the colon", b"Transfer-Encoding\t: chunked"),
    ("vertical-tab-in-name", "vertical tab before the colon", b"Transfer-Encoding\x0b: chunked"),
    ("nul-in-name", "NUL before the colon", b"Transfer-Encoding\x00: chunked"),
    ("space-before-name", "space before the name", b"X-A: 1\r\n Transfer-Encoding: chunked"),
    ("tab-before-name", "tab before the name", b"X-A: 1\r\n\tTransfer-Encoding: chunked"),
    ("behind-bare-cr", "behind a bare CR", b"X-A: 1\rTransfer-Encoding: chunked"),
    ("cr-before-colon", "CR before the colon", b"Transfer-Encoding\r: chunked"),
    ("cr-in-value", "CR before the value", b"Transfer-Encoding:\rchunked"),
    ("no-colon", "no colon", b"Transfer-Encoding chunked"),
)

# Odd, but the text behind the fold or the LF may be read as it is meant (RFC 9112, 2.2 and 5.2).
_TOLERABLE = {"space-before-name", "tab-before-name"}


def _alone(id_: str, title: str, lines: bytes) -> Case:
    accept = (*_REFUSED, then_refused(400)) if id_ in _TOLERABLE else _REFUSED
    steps = (post(lines, body=HELLO),)
    return Case(f"te-{id_}", title, _SOURCE, steps, accept, _OURS, responses=2)


def _beside_length(id_: str, title: str, lines: bytes) -> Case:
    """Return the same beside a Content-Length that covers the body and a smuggled request."""
    body = b"0\r\n\r\n" + SMUGGLED
    length = b"Content-Length: %d" % len(body)
    folded = forwarded(origin_content(body), origin_lacks("Transfer-Encoding"))
    accept = (*_REFUSED, folded) if id_ in _TOLERABLE else _REFUSED
    title = f"{title}, beside Content-Length"
    return Case(f"te-cl-{id_}", title, _SOURCE, (post(length, lines, body=body),), accept, _OURS)


_VALID = (
    Case("te-chunked", "chunked", "RFC 9112 section 7.1", (chunked(HELLO),), (forwarded(_FIVE),)),
    Case("te-case", "chunked in odd case", "RFC 9112 section 7",
         (post(b"tRANSFER-eNCODING: cHuNkEd", body=HELLO),), (forwarded(_FIVE), *MALFORMED),
         (forwarded(_FIVE),)),
    Case("te-padded", "white space around", "RFC 9110 section 5.5",
         (post(b"Transfer-Encoding:\t chunked \t", body=HELLO),), (forwarded(_FIVE),)),
    Case("te-list-comma", "an empty list element behind", "RFC 9110 section 5.6.1",
         (post(b"Transfer-Encoding: chunked,", body=HELLO),), (forwarded(_FIVE), *_REFUSED)),
    Case("te-list-comma-first", "an empty list element before", "RFC 9110 section 5.6.1",
         (post(b"Transfer-Encoding: , chunked", body=HELLO),), (forwarded(_FIVE), *_REFUSED)),
    Case("te-get", "GET with a chunked body", "RFC 9110 section 9.3.1",
         (request(b"Transfer-Encoding: chunked", body=HELLO),),
         (forwarded(_FIVE), refused(400)), (forwarded(_FIVE),)),
    Case("te-delete", "DELETE with a chunked body", "RFC 9110 section 9.3.5",
         (request(b"Transfer-Encoding: chunked", method=b"DELETE", body=HELLO),),
         (forwarded(_FIVE), refused(400)), (forwarded(_FIVE),)),
    Case("te-body-is-request", "a chunk that looks like a request stays a body",
         "RFC 9112 section 7.1",
         (chunked(b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n"),),
         (forwarded(origin_content(SMUGGLED)),)),
)  # fmt: skip

_FOLDED = (
    Case("te-fold", "obs-fold", "RFC 9112 section 5.2",
         (post(b"Transfer-Encoding:\r\n chunked", body=HELLO),), (forwarded(_FIVE), *_REFUSED),
         _BAD),
    Case("te-behind-bare-lf", "behind a LF alone", "RFC 9112 section 2.2",
         (post(b"X-A: 1\nTransfer-Encoding: chunked", body=HELLO),),
         (forwarded(_FIVE), *_REFUSED), _BAD),
    Case("te-bare-lf", "LF alone behind it", "RFC 9112 section 2.2",
         (post(b"Transfer-Encoding: chunked\nX-A: 1", body=HELLO),),
         (forwarded(_FIVE), *_REFUSED), _BAD),
    Case("te-underscore", "Transfer_Encoding is no framing: the body is another request",
         _SOURCE, (post(b"Transfer_Encoding: chunked", body=SMUGGLED),),
         (*_REFUSED, forwarded(origin_targets(b"/t/", b"/t/smuggled"), statuses=(200, 200))),
         responses=2),
    Case("te-1.0", "in HTTP/1.0: faulty framing", "RFC 9112 section 6.1",
         (request(_NAME + b"chunked", method=b"POST", version=b"HTTP/1.0", body=HELLO),),
         (*_REFUSED, served_and_closed(1, _FIVE)), _OURS),
    Case("te-1.0-keep-alive", "in HTTP/1.0 with keep-alive: still closed",
         "RFC 9112 section 6.1",
         (request(_NAME + b"chunked", b"Connection: keep-alive", method=b"POST",
                  version=b"HTTP/1.0", body=HELLO),),
         (*_REFUSED, served_and_closed(1, _FIVE)), _OURS),
    Case("te-cl-1.0", "beside Content-Length in HTTP/1.0", "RFC 9112 section 6.1",
         (request(_NAME + b"chunked", b"Content-Length: 15", b"Connection: keep-alive",
                  method=b"POST", version=b"HTTP/1.0", body=HELLO),),
         (*_REFUSED, served_and_closed(1, _FIVE)), _OURS),
)  # fmt: skip

CASES = (
    *_VALID,
    *_FOLDED,
    *(_alone(*odd) for odd in _ODD),
    *(_beside_length(*odd) for odd in _ODD),
)
