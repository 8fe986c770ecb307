"""What of a request is checked, removed and normalised before any filter runs.

One object per generation holds what the configuration decides. Everything that a filter or an
upstream may take for the gateway's own word is removed here: fields that end at this hop, identity
fields, and ``X-Forwarded-*`` of peers that are not trusted, also in the spellings that CGI-like
origins cannot tell apart, such as with underscores.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from gatewayd.address import Networks, parse_address
from gatewayd.errors import Reject
from gatewayd.exchange import Peer, Request
from gatewayd.headers import CONNECTION_LEVEL, TOKEN, Headers, as_cgi_reads
from gatewayd.http1.framing import FORBIDDEN_TRAILERS
from gatewayd.http1.grammar import (
    BARE_LF,
    CONTENT_LENGTH,
    REQUEST_LINE,
    list_members,
    parse_host,
    split_absolute_form,
)
from gatewayd.principal import IDENTITY_FIELDS
from gatewayd.routing.normalise import PathPolicy
from gatewayd.server.forwarded import client_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatewayd.config.schema import RoutingConfig, ServerConfig

_FORWARDED = frozenset({
    b"forwarded", b"x-real-ip", b"x-client-ip", b"x-original-url", b"x-rewrite-url",
})  # fmt: skip
# Whatever follows: proxies write more of them than anybody could list, identities among them.
_FORWARDED_PREFIX = b"x-forwarded-"
# Of this hop; Expect too, because whoever reads the body answers it.
_THIS_HOP = CONNECTION_LEVEL | {b"expect"}
# Connection may name any field (RFC 9110 section 7.6.1), but not talk the gateway out of this one.
_NOT_REMOVABLE = frozenset({b"host"})
CHUNKED = -1
HTTP_1_0 = (1, 0)
HTTP_1_1 = (1, 1)
_VERSIONS = {(b"1", b"0"): HTTP_1_0, (b"1", b"1"): HTTP_1_1}
_REFUSED_METHODS = frozenset({b"CONNECT", b"TRACE"})
# Those of RFC 9110 and of its extensions that aiohttp's parser knows. It sees no line whose field
# lines are those of the request before, so this must not be left to it.
_METHODS = frozenset(
    b"ACL BIND CHECKOUT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL "
    b"MOVE NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH "
    b"SOURCE SUBSCRIBE UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
)
# As many as there may be routes; with lines of at most 256 bytes (reader.py) 10 MB at worst.
_REMEMBERED_LINES = 16384
ALLOWED_METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"

OVERLOADED = Reject(
    503,
    "overloaded",
    "The gateway is at its limit of concurrent exchanges.",
    [("Retry-After", "1")],
)


def malformed(detail: str) -> Reject:
    """Return the refusal of a request that breaks HTTP; the connection is closed after it."""
    return Reject(400, "malformed_request", detail)


class RequestLine(Struct, frozen=True):
    """What the first line of a request says.

    Attributes:
        method: Method token.
        target: As received.
        path: Normalised; ``None`` where the target is not in origin-form.
        query: What followed ``?``, or ``None``.
        version: ``HTTP_1_1`` or ``HTTP_1_0``, the very objects.

    """

    method: str
    target: str
    path: str | None
    query: str | None
    version: tuple[int, int]


class Fields:
    """What the header fields of a request say, after everything was checked and removed.

    Attributes:
        headers: The fields that filters and upstreams see; for copying, not for changing.
        peer: The client.
        host, authority: Of the Host field.
        length: Bytes of the body, or ``CHUNKED``.
        keep_alive: Whether the client wants the connection to outlive the response.
        upgrade: Protocol that the client asks to switch to, lower case.
        expects_continue: Whether the client waits for ``100 Continue``.

    """

    __slots__ = ("authority", "expects_continue", "headers", "host", "keep_alive", "length", "peer",
                 "upgrade")  # fmt: skip

    def __init__(self, headers: Headers, peer: Peer, version: tuple[int, int]) -> None:
        self.headers = headers
        self.peer = peer
        self.host, self.authority = _host(headers.index, version)
        self.length = _body_length(headers.index, version)
        self.keep_alive = version == (1, 1)
        self.upgrade: str | None = None
        self.expects_continue = False


class Entry:
    """Checks requests, as one configuration says.

    Args:
        server: Limits, trusted proxies, identity fields.
        routing: How paths are normalised.

    Attributes:
        limits: The server's settings.
        max_in_flight, keepalive_timeout: Two of them.
        normalise: Returns the normalised form of a path.
        remembered_line: Does what :meth:`request_line` does, once for a line that comes again. The
            number of lines is bounded; their length is the caller's to bound.

    """

    def __init__(self, server: ServerConfig, routing: RoutingConfig) -> None:
        self.limits = server
        # Those that every exchange asks for, as pydantic's attributes take five times as long.
        self.max_in_flight = server.max_in_flight
        self.keepalive_timeout = server.keepalive_timeout
        self.normalise = PathPolicy(routing).normalise
        named = frozenset(name.lower().encode("ascii") for name in server.identity_headers)
        identity = named | IDENTITY_FIELDS  # those that we set, whatever an operator leaves out
        self._stripped_untrusted = _THIS_HOP | identity | _FORWARDED
        self._stripped_trusted = _THIS_HOP | identity
        self._stripped_trailers = FORBIDDEN_TRAILERS | identity | _FORWARDED
        self._trusted = Networks(server.trusted_proxies)
        tls = server.tls
        self._certificate_required = tls is not None and tls.client_certificates == "required"
        self.remembered_line = lru_cache(maxsize=_REMEMBERED_LINES)(self.request_line)

    def peer(
        self, address: str, port: int, scheme: str, certificate: Mapping[str, object] | None
    ) -> Peer:
        """Describe the socket's other end.

        Raises:
            Reject: it has not shown the certificate that is required. The handshake sees to that,
                but not where it took place, or its session began, before a reload required it.

        """
        if certificate is None and scheme == "https" and self._certificate_required:
            detail = "A client certificate is required."
            raise Reject(403, "client_certificate_required", detail)
        # A socket for both families tells IPv4 peers as ::ffff:a.b.c.d.
        address = address.removeprefix("::ffff:") if "." in address else address
        trusted = bool(self._trusted) and parse_address(address) in self._trusted
        return Peer(address, port, scheme, trusted=trusted, certificate=certificate)

    def check(
        self, lines: Iterable[tuple[bytes, bytes]], version: tuple[int, int], peer: Peer
    ) -> Fields:
        """Check header fields and remove those that are not for anybody behind the gateway.

        The result depends on nothing but the arguments and the configuration.

        Raises:
            Reject: they are malformed, contradict each other, or ask for what is not done.

        """
        headers = Headers.of_lines(lines)
        index = headers.index
        fields = Fields(headers, peer, version)
        stripped = self._stripped_trusted if peer.trusted else self._stripped_untrusted
        names = b"".join(index)
        if (
            not stripped.isdisjoint(index)
            or _FORWARDED_PREFIX in names
            or as_cgi_reads(names) != names
        ):
            named = self._check_connection(fields, index, version)
            removed = (stripped | frozenset(named)) - _NOT_REMOVABLE
            fields.headers = Headers.of_lines(
                line
                for line in headers.raw
                if line[0].lower() not in removed and not self._is_ours(line[0], peer)
            )
        if peer.trusted:
            fields.peer = client_of(peer, index, self._trusted)
        return fields

    def _is_ours(self, name: bytes, peer: Peer) -> bool:
        """Whether an origin may take a field for one of the gateway's, or of a trusted proxy's."""
        read = as_cgi_reads(name)
        if read == name.lower():
            return read.startswith(_FORWARDED_PREFIX) and not peer.trusted
        return read.startswith(_FORWARDED_PREFIX) or read in self._stripped_untrusted

    def forbids_trailer(self, name: bytes) -> bool:
        """Whether a trailer field of a request is dropped; for its name as CGI reads it."""
        return name in self._stripped_trailers or name.startswith(_FORWARDED_PREFIX)

    def _check_connection(
        self, fields: Fields, index: Mapping[bytes, bytes], version: tuple[int, int]
    ) -> list[bytes]:
        """Take what is said about this hop; return the fields that Connection names."""
        members = list_members(index.get(b"connection", b""))
        if not all(map(TOKEN.fullmatch, members)):
            raise malformed("The Connection field is invalid.")
        fields.keep_alive = b"close" not in members and (
            fields.keep_alive or b"keep-alive" in members
        )
        if version == (1, 1):
            if b"upgrade" in members and b"upgrade" in index:
                fields.upgrade = index[b"upgrade"].decode("latin-1").lower()
            if b"expect" in index:
                if index[b"expect"].lower() != b"100-continue":
                    raise Reject(417, "expectation_failed", "Only 100-continue can be expected.")
                fields.expects_continue = True
        return members

    def request_line(self, line: bytes) -> RequestLine:
        """Parse a request line, without its CRLF, and normalise the path.

        Raises:
            Reject: it is malformed, too long, not for us, or its path is not allowed.

        """
        limit = self.limits.max_target_bytes
        match = REQUEST_LINE.fullmatch(line)
        # 64: room for method and version.
        if len(line) > limit + 64 or (match is not None and len(match[2]) > limit):
            raise Reject(414, "target_too_long", "The request target is too long.")
        if match is None:
            raise malformed("The request line is invalid.")
        method, target, *digits = match.groups()
        version = _VERSIONS.get((digits[0], digits[1]))
        if version is None:
            raise Reject(505, "version_not_supported", "This gateway speaks HTTP/1.0 and HTTP/1.1.")
        if method in _REFUSED_METHODS:
            raise Reject(405, "method_not_allowed", "", [("Allow", ALLOWED_METHODS)])
        if method not in _METHODS:
            raise malformed("The method is unknown.")
        name = method.decode("ascii")
        if target[:1] != b"/":
            return RequestLine(name, target.decode("latin-1"), None, None, version)
        return self.line_of(name, target, version)

    def check_incomplete(self, data: bytes, known: int) -> None:
        """Refuse the beginning of a head that can no longer become valid.

        Args:
            data: The beginning.
            known: Bytes of it that were checked before.

        Raises:
            Reject: it is too large, or malformed already.

        """
        limits = self.limits
        line_end = data.find(b"\n") + 1
        if line_end:
            if line_end > known:  # it has just come: only once
                self.request_line(data[:line_end].removesuffix(b"\r\n"))
            if len(data) > limits.max_header_bytes or data.count(b"\n") > limits.max_headers + 1:
                raise Reject(431, "headers_too_large", "The request head is too large.")
            if BARE_LF.search(data):
                raise malformed("A line ends without CR.")
        elif len(data) > limits.max_target_bytes + 64:  # method and version
            raise Reject(414, "target_too_long", "The request target is too long.")
        elif data and not data[:1].isalpha() and data != b"\r":
            raise malformed("This is not HTTP.")

    def line_of(self, method: str, target: bytes, version: tuple[int, int]) -> RequestLine:
        """Make a request line of a target in origin-form.

        Raises:
            Reject: the path is not allowed.

        """
        text = target.decode("latin-1")
        path, mark, query = text.partition("?")
        return RequestLine(method, text, self.normalise(path), query if mark else None, version)


def make_request(line: RequestLine, fields: Fields) -> Request:
    """Make the request that a line in origin-form and checked fields stand for, without a body."""
    return Request(
        line.method,
        line.path or "",
        line.query,
        fields.host,
        fields.authority,
        fields.headers.copy(),
        b"",
        fields.peer,
        line.version,
        line.target,
        fields.upgrade,
        fields.expects_continue,
    )


def origin_form(
    method: str, target: bytes, lines: Iterable[tuple[bytes, bytes]]
) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Return a target of another form in origin-form, and the fields with its authority as Host.

    RFC 9112 section 3.2.2: the authority of an absolute-form target replaces the Host field,
    whatever valid host that names.

    Raises:
        Reject: the form is none that a gateway takes, or a Host field is invalid, which it may not
            be beside any form (RFC 9112 section 3.2).

    """
    if target == b"*" and method == "OPTIONS":
        raise Reject(
            404, "route_not_found", "OPTIONS * asks about a server; there are only routes here."
        )
    absolute = split_absolute_form(target)
    if absolute is None:
        raise malformed("The request target is invalid.")
    authority, target = absolute
    others = [(b"Host", authority)]
    for name, value in lines:
        if name.lower() != b"host":
            others.append((name, value))
        elif parse_host(value) is None:
            raise malformed("The Host field is invalid.")
    return target, others


def _host(index: Mapping[bytes, bytes], version: tuple[int, int]) -> tuple[str, str]:
    value = index.get(b"host")
    if value is None:
        if version == (1, 1):
            raise malformed("The Host field is missing.")
        return "", ""
    parsed = parse_host(value)
    if parsed is None:
        raise malformed("The Host field is invalid.")
    return parsed


def _body_length(index: Mapping[bytes, bytes], version: tuple[int, int]) -> int:
    """Return how long the body is (RFC 9112 section 6.3); whatever is ambiguous is refused."""
    coding = index.get(b"transfer-encoding")
    length = index.get(b"content-length")
    if coding is None:
        if length is None:
            return 0
        if not CONTENT_LENGTH.fullmatch(length):
            raise malformed("The Content-Length field is invalid.")
        return int(length)
    if length is not None:
        raise malformed("Transfer-Encoding and Content-Length exclude each other.")
    if version != (1, 1):
        raise malformed("Transfer-Encoding does not exist in HTTP/1.0.")
    if coding.lower() != b"chunked":
        if not coding or b"chunked" not in list_members(coding)[-1:]:
            raise malformed("The Transfer-Encoding field is invalid.")
        raise Reject(501, "unsupported_transfer_coding", "The only transfer coding is chunked.")
    return CHUNKED
