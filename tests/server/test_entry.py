"""What of a request is checked and removed before any filter runs."""

from __future__ import annotations

import pytest

from gatewayd.config.schema import RoutingConfig, ServerConfig
from gatewayd.errors import Reject
from gatewayd.server.entry import (
    CHUNKED,
    HTTP_1_0,
    HTTP_1_1,
    Entry,
    Fields,
    RequestLine,
    origin_form,
)

Lines = list[tuple[bytes, bytes]]
HOST: Lines = [(b"Host", b"api.example")]


def entry(**server: object) -> Entry:
    return Entry(ServerConfig.model_validate(server), RoutingConfig())


def check(
    *lines: tuple[bytes, bytes],
    version: tuple[int, int] = HTTP_1_1,
    peer: str = "192.0.2.1",
    **server: object,
) -> Fields:
    own = entry(**server)
    return own.check([*HOST, *lines], version, own.peer(peer, 1, "http", None))


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        (b"GET /", 400, "malformed_request"),
        (b"GET  / HTTP/1.1", 400, "malformed_request"),
        (b"GET / HTTP/1.1\n", 400, "malformed_request"),
        (b"GET /a b HTTP/1.1", 400, "malformed_request"),
        (b"GET /?\xff HTTP/1.1", 400, "malformed_request"),
        (b"get / HTTP/1.1", 400, "malformed_request"),
        (b"SUBMIT / HTTP/1.1", 400, "malformed_request"),
        (b"GET / HTTP/2.0", 505, "version_not_supported"),
        (b"GET / HTTP/1.2", 505, "version_not_supported"),
        (b"CONNECT a:443 HTTP/1.1", 405, "method_not_allowed"),
        (b"TRACE / HTTP/1.1", 405, "method_not_allowed"),
        (b"GET /%2e%2e/ HTTP/1.1", 400, "bad_path"),
        (b"GET /" + b"a" * 300 + b" HTTP/1.1", 414, "target_too_long"),
    ],
)
def test_refuses_request_lines(line: bytes, status: int, code: str) -> None:
    with pytest.raises(Reject) as caught:
        entry(max_target_bytes=256).request_line(line)
    assert (caught.value.status, caught.value.code) == (status, code)


def test_a_request_line_is_taken_apart_and_its_path_normalised() -> None:
    line = entry().request_line(b"GET /a/./b?x=%20 HTTP/1.0")
    assert line == RequestLine("GET", "/a/./b?x=%20", "/a/b", "x=%20", HTTP_1_0)
    assert line.version is HTTP_1_0


@pytest.mark.parametrize("version", [HTTP_1_1, HTTP_1_0])
@pytest.mark.parametrize(
    "host",
    [b"", b"a,b", b"a b", b"user@a", b"a/b", b"a:b", b"a:65536", b"[::1", b"a%2eb", b"a" * 256],
)
def test_refuses_hosts(host: bytes, version: tuple[int, int]) -> None:
    own = entry()
    with pytest.raises(Reject) as caught:
        own.check([(b"Host", host)], version, own.peer("192.0.2.1", 1, "http", None))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("host", "name"),
    [(b"A.Example.:8080", "a.example"), (b"[::1]:1", "[::1]"), (b"a_b", "a_b"), (b"a:", "a")],
)
def test_takes_hosts_apart(host: bytes, name: str) -> None:
    own = entry()
    fields = own.check([(b"Host", host)], HTTP_1_1, own.peer("192.0.2.1", 1, "http", None))
    assert (fields.host, fields.authority) == (name, host.decode())


def test_only_http_1_0_may_leave_out_the_host() -> None:
    own = entry()
    peer = own.peer("192.0.2.1", 1, "http", None)
    assert own.check([], HTTP_1_0, peer).host == ""
    with pytest.raises(Reject):
        own.check([], HTTP_1_1, peer)


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ([], 0),
        ([(b"Content-Length", b"12")], 12),
        ([(b"Transfer-Encoding", b"Chunked")], CHUNKED),
    ],
)
def test_tells_how_long_the_body_is(lines: Lines, length: int) -> None:
    assert check(*lines).length == length


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([(b"Content-Length", b"+1")], 400),
        ([(b"Content-Length", b"1, 1")], 400),
        ([(b"Content-Length", b"")], 400),
        ([(b"Content-Length", b"9" * 19)], 400),
        ([(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")], 400),
        ([(b"Content-Length", b"1"), (b"Transfer-Encoding", b"")], 400),
        ([(b"Transfer-Encoding", b"")], 400),
        ([(b"Transfer-Encoding", b"xchunked")], 400),
        ([(b"Transfer-Encoding", b"chunked, identity")], 400),
        ([(b"Transfer-Encoding", b"\x0bchunked")], 400),
        ([(b"Transfer-Encoding", b"gzip, chunked")], 501),
        ([(b"Expect", b"200-maybe")], 417),
        ([(b"Connection", b"a b")], 400),
    ],
)
def test_refuses_what_is_ambiguous(lines: Lines, status: int) -> None:
    with pytest.raises(Reject) as caught:
        check(*lines)
    assert caught.value.status == status


def test_refuses_a_transfer_coding_in_http_1_0() -> None:
    with pytest.raises(Reject):
        check((b"Transfer-Encoding", b"chunked"), version=HTTP_1_0)


@pytest.mark.parametrize(
    ("connection", "version", "expected"),
    [
        (None, HTTP_1_1, True),
        (None, HTTP_1_0, False),
        (b"close", HTTP_1_1, False),
        (b"Keep-Alive", HTTP_1_0, True),
        (b"keep-alive, close", HTTP_1_0, False),
    ],
)
def test_tells_whether_the_connection_goes_on(
    connection: bytes | None, version: tuple[int, int], *, expected: bool
) -> None:
    lines = [] if connection is None else [(b"Connection", connection)]
    assert check(*lines, version=version).keep_alive is expected


@pytest.mark.parametrize(
    "name",
    [
        b"Connection", b"Keep-Alive", b"TE", b"Trailer", b"Proxy-Connection", b"Content-Length",
        b"Proxy-Authorization", b"X-User-Id", b"x-user-roles", b"X_User_Id", b"X-USER_ID",
        b"X-Forwarded-For", b"Forwarded", b"X_Forwarded_Proto", b"X-Real-IP", b"X-Original-URL",
        b"X-Forwarded-Email", b"X_Forwarded_Groups", b"X-Forwarded-", b"X.User.Id", b"X~User-Id",
    ],
)  # fmt: skip
def test_what_untrusted_clients_may_not_say_is_removed(name: bytes) -> None:
    fields = check((name, b"1"), (b"X-Kept", b"1"))
    assert list(fields.headers.raw) == [*HOST, (b"X-Kept", b"1")]


def test_what_connection_names_is_removed_but_not_the_host() -> None:
    fields = check((b"Connection", b"X-Hop, Host"), (b"X-Hop", b"1"), (b"X-Kept", b"1"))
    assert list(fields.headers.raw) == [*HOST, (b"X-Kept", b"1")]


def test_what_connection_names_is_removed_in_all_its_spellings_but_no_other() -> None:
    lines = [(b"X_Hop", b"1"), (b"x_hop", b"1"), (b"X-Hop", b"1")]
    fields = check((b"Connection", b"x_hop"), *lines)
    assert list(fields.headers.raw) == [*HOST, (b"X-Hop", b"1")]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (b"X-Forwarded-For", True), (b"Forwarded", True), (b"X-User-Id", False),
        (b"X-Forwarded-Email", True), (b"X_Forwarded_For", False), (b"X_Forwarded_Email", False),
        (b"Connection", False), (b"X.Own", True),
    ],
)  # fmt: skip
def test_what_trusted_proxies_may_say(name: bytes, *, kept: bool) -> None:
    fields = check((name, b"192.0.2.9"), peer="10.0.0.1", trusted_proxies=["10.0.0.0/8"])
    assert (name.decode() in fields.headers) is kept


@pytest.mark.parametrize(
    ("name", "forbidden"),
    [
        (b"x-user-id", True), (b"x-forwarded-for", True), (b"x-forwarded-email", True),
        (b"content-type", True), (b"x-checksum", False),
    ],
)  # fmt: skip
def test_trailers_that_are_the_gateway_s_to_say_are_dropped(
    name: bytes, *, forbidden: bool
) -> None:
    assert entry().forbids_trailer(name) is forbidden


def test_identity_fields_are_configurable() -> None:
    assert "X-Tenant" not in check((b"X-Tenant", b"1"), identity_headers=["X-Tenant"]).headers


@pytest.mark.parametrize(
    ("lines", "version", "upgrade"),
    [
        ([(b"Connection", b"Upgrade"), (b"Upgrade", b"WebSocket")], HTTP_1_1, "websocket"),
        ([(b"Upgrade", b"websocket")], HTTP_1_1, None),
        ([(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")], HTTP_1_0, None),
    ],
)
def test_an_upgrade_is_asked_for_in_both_fields(
    lines: Lines, version: tuple[int, int], upgrade: str | None
) -> None:
    assert check(*lines, version=version).upgrade == upgrade


def test_a_peer_of_a_socket_for_both_families_is_an_ipv4_peer() -> None:
    peer = entry(trusted_proxies=["10.0.0.0/8"]).peer("::ffff:10.1.2.3", 1, "http", None)
    assert (peer.address, peer.trusted) == ("10.1.2.3", True)


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_the_authority_of_an_absolute_target_replaces_the_host(method: str) -> None:
    target, lines = origin_form(method, b"http://other.example?x", HOST)
    assert (target, lines) == (b"/?x", [(b"Host", b"other.example")])


@pytest.mark.parametrize("host", [b"", b"a,b", b"a b", b"u@a", b"a/b", b"a:99999"])
def test_refuses_an_invalid_host_beside_an_absolute_target(host: bytes) -> None:
    with pytest.raises(Reject) as caught:
        origin_form("GET", b"http://other.example/", [(b"HOST", host)])
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("OPTIONS", b"*", 404), ("GET", b"*", 400), ("GET", b"a:443", 400),
        ("GET", b"ftp://a/", 400), ("GET", b"http:///", 400), ("GET", b"http://u@a/", 400),
    ],
)  # fmt: skip
def test_refuses_targets_of_other_forms(method: str, target: bytes, status: int) -> None:
    own = entry()

    def take() -> None:
        _, lines = origin_form(method, target, HOST)
        own.check(lines, HTTP_1_1, own.peer("192.0.2.1", 1, "http", None))

    with pytest.raises(Reject) as caught:
        take()
    assert caught.value.status == status
