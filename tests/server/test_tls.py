"""TLS on the listener: certificates by SNI, files that change, clients with certificates."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import ConfigError, Exchange, IterBody, Response
from gatewayd.config.schema import TlsConfig
from gatewayd.server.tls import TlsContext
from gatewayd.telemetry.state import StateMetrics
from tests.support.certificates import Authority
from tests.support.in_process import InProcessGateway, serving
from tests.support.plugins import answering, plugins_with
from tests.support.raw import Wire, until
from tests.support.tls_client import TlsClient

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.server.conftest import Served

    Serve = Callable[..., Awaitable[Served]]

HEALTH = b"GET /health HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def sign(authority: Authority, file: str, *names: str, **settings: Any) -> dict[str, str]:
    """Return certificate and key for these names as ``gateway.toml`` names them."""
    common_name = names[0] if names else "nobody"
    paths = authority.issue(*names, file=file, common_name=common_name, **settings)
    return dict(zip(("certificate", "key"), paths, strict=True))


DEFAULT_FILTERS = ["ops", "route_match", "balancer", "upstream"]


def config(
    *certificates: dict[str, str], extra: str = "", filters: list[str] = DEFAULT_FILTERS
) -> str:
    listed = ", ".join(
        f'{{ certificate = "{one["certificate"]}", key = "{one["key"]}" }}' for one in certificates
    )
    return f"""
[pipeline]
filters = {filters}
[server.tls]
certificates = [{listed}]
{extra}
"""


async def served_name(gateway: InProcessGateway, context: ssl.SSLContext, name: str) -> str:
    """Return the common name of the certificate that a client gets who asks for a name."""
    wire = await Wire.connect(gateway.port, ssl=context, server_hostname=name)
    try:
        certificate = wire.tls.getpeercert()
        assert certificate is not None
        assert (await wire.ask(HEALTH)).status == 200
    finally:
        wire.close()
    return common_name(certificate)


def common_name(certificate: Any) -> str:
    """Return the subject of a certificate, as ``ssl`` describes it."""
    ((_, name),) = certificate["subject"][0]
    return str(name)


@pytest.fixture
async def two_names(authority: Authority, tmp_path: Path) -> AsyncIterator[InProcessGateway]:
    first = sign(authority, "first", "first.test", "other.first.test")
    second = sign(authority, "second", "second.test", "*.wild.test")
    async with serving(config(first, second), tmp_path) as gateway:
        yield gateway


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("first.test", "first.test"),
        ("other.first.test", "first.test"),
        ("second.test", "second.test"),
        ("SECOND.test", "second.test"),
        ("a.wild.test", "second.test"),
    ],
)
async def test_the_certificate_is_that_of_the_name(
    two_names: InProcessGateway, authority: Authority, asked: str, served: str
) -> None:
    assert await served_name(two_names, authority.client_context(), asked) == served


async def test_an_unknown_name_gets_the_first_certificate(
    two_names: InProcessGateway, authority: Authority
) -> None:
    context = authority.client_context()
    context.check_hostname = False
    assert await served_name(two_names, context, "unknown.test") == "first.test"


async def test_changed_files_are_served(authority: Authority, tmp_path: Path) -> None:
    certificate = sign(authority, "one", "before.test", "gateway.test")
    async with serving(config(certificate), tmp_path) as gateway:
        assert (
            await served_name(gateway, authority.client_context(), "gateway.test") == "before.test"
        )
        sign(authority, "one", "after.test", "gateway.test")
        tls = gateway.server._tls
        assert tls is not None
        assert tls.check_files()
        assert (
            await served_name(gateway, authority.client_context(), "gateway.test") == "after.test"
        )


async def test_broken_files_leave_the_old_certificate(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = sign(authority, "one", "gateway.test")
    async with serving(config(certificate), tmp_path) as gateway:
        (tmp_path / "one.crt").write_text("nonsense")
        tls = gateway.server._tls
        assert tls is not None
        assert not tls.check_files()
        assert "changed certificates are not used" in caplog.text
        assert (
            await served_name(gateway, authority.client_context(), "gateway.test") == "gateway.test"
        )


def test_unchanged_files_are_not_loaded_again(authority: Authority) -> None:
    tls = TlsContext(TlsConfig.model_validate({"certificates": [sign(authority, "one", "a.test")]}))
    assert not tls.check_files()


@pytest.mark.parametrize("changed", ["certificate", "key", "client_ca"])
def test_a_change_of_any_file_is_seen(authority: Authority, tmp_path: Path, changed: str) -> None:
    clients = tmp_path / "clients.pem"
    clients.write_bytes(authority.file.read_bytes())
    own = sign(authority, "one", "a.test")
    model = TlsConfig.model_validate({
        "certificates": [own],
        "client_ca": str(clients),
        "client_certificates": "required",
    })  # fmt: skip
    tls = TlsContext(model)
    with open({**own, "client_ca": clients}[changed], "a") as file:  # noqa: PTH123  # or a text
        file.write("\n")
    assert tls.check_files()


@pytest.mark.parametrize("missing", ["certificate", "key"])
def test_a_file_that_cannot_be_loaded_is_named(authority: Authority, missing: str) -> None:
    certificate = sign(authority, "one", "a.test") | {missing: "/nowhere.pem"}
    model = TlsConfig.model_validate({"certificates": [certificate]})
    with pytest.raises(ConfigError, match=r"server\.tls\.certificates\[0\]"):
        TlsContext(model)


def test_client_authorities_that_cannot_be_loaded_are_named(authority: Authority) -> None:
    model = TlsConfig.model_validate({
        "certificates": [sign(authority, "one", "a.test")],
        "client_ca": "/nowhere.pem",
        "client_certificates": "required",
    })  # fmt: skip
    with pytest.raises(ConfigError, match=r"server\.tls\.client_ca"):
        TlsContext(model)


async def test_a_required_client_certificate_is_required(
    authority: Authority, tmp_path: Path
) -> None:
    own = sign(authority, "server", "gateway.test")
    async with serving(config(own, extra=demand(authority, "required")), tmp_path) as gateway:
        client = authority.client_context(authority.issue("client.test"))
        assert await served_name(gateway, client, "gateway.test") == "gateway.test"
        await refused(gateway, authority.client_context())


async def test_tls_1_2_is_the_oldest_that_is_spoken(authority: Authority, tmp_path: Path) -> None:
    async with serving(config(sign(authority, "server", "gateway.test")), tmp_path) as gateway:
        context = authority.client_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await served_name(gateway, context, "gateway.test") == "gateway.test"
        assert gateway.server._tls is not None
        assert gateway.server._tls.context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("a.wild.test", "first.test"),
        ("exact.wild.test", "second.test"),
        ("wild.test", "first.test"),
        ("a.b.wild.test", "first.test"),
        ("127.0.0.1", "first.test"),
    ],
)
async def test_an_exact_name_goes_before_a_wildcard_of_one_label(
    authority: Authority, tmp_path: Path, asked: str, served: str
) -> None:
    first = sign(authority, "first", "first.test", "*.wild.test")
    second = sign(authority, "second", "second.test", "exact.wild.test")
    context = authority.client_context()
    context.check_hostname = False
    async with serving(config(first, second), tmp_path) as gateway:
        assert await served_name(gateway, context, asked) == served


async def test_a_certificate_without_names_can_be_the_first_one(
    authority: Authority, tmp_path: Path
) -> None:
    context = authority.client_context()
    context.check_hostname = False
    async with serving(config(sign(authority, "nameless")), tmp_path) as gateway:
        assert await served_name(gateway, context, "any.test") == "nobody"


async def test_the_scheme_is_https(authority: Authority, tmp_path: Path) -> None:
    schemes = []

    async def answer(exchange: Exchange) -> Response:
        schemes.append(exchange.request.peer.scheme)
        return Response(200)

    plugins = plugins_with(answering(answer))
    text = config(sign(authority, "one", "gateway.test"), filters=["answer"])
    async with serving(text, tmp_path, plugins) as gateway:
        await served_name(gateway, authority.client_context(), "gateway.test")
    assert schemes == ["https"]


@pytest.mark.parametrize("mode", ["optional", "required", "off"])
async def test_filters_learn_who_the_client_is(
    authority: Authority, tmp_path: Path, mode: str
) -> None:
    shown: list[Any] = []

    async def answer(exchange: Exchange) -> Response:
        shown.append(exchange.request.peer.certificate)
        return Response(200)

    extra = "" if mode == "off" else demand(authority, mode)
    text = config(sign(authority, "one", "gateway.test"), extra=extra, filters=["answer"])
    client = authority.issue("client.test", common_name="the client")
    async with serving(text, tmp_path, plugins_with(answering(answer))) as gateway:
        await served_name(gateway, authority.client_context(client), "gateway.test")
        if mode != "required":
            await served_name(gateway, authority.client_context(), "gateway.test")
    names = [one and common_name(one) for one in shown]
    known = None if mode == "off" else "the client"
    assert names == [known] if mode == "required" else [known, None]


async def test_a_certificate_of_another_authority_is_refused_also_where_it_is_optional(
    authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "Somebody Else").issue("client.test")
    text = config(sign(authority, "one", "gateway.test"), extra=demand(authority, "optional"))
    async with serving(text, tmp_path) as gateway:
        await refused(gateway, authority.client_context(other))


async def test_a_reload_can_demand_client_certificates(
    authority: Authority, tmp_path: Path
) -> None:
    own = sign(authority, "one", "gateway.test")
    async with serving(config(own), tmp_path) as gateway:
        assert await served_name(gateway, authority.client_context(), "gateway.test")
        generation = await gateway.adopt(config(own, extra=demand(authority, "required")))
        tls = generation.loaded.config.server.tls
        assert tls is not None
        gateway.server.reload_tls(tls)
        await refused(gateway, authority.client_context())
        client = authority.client_context(authority.issue("client.test"))
        assert await served_name(gateway, client, "gateway.test")


async def test_a_certificate_that_is_not_served_any_more_has_no_expiry_to_watch(
    two_names: InProcessGateway, authority: Authority
) -> None:
    metrics = two_names.generations.kept.metrics
    state = StateMetrics(two_names.generations, two_names.server)

    def shown() -> set[str]:
        families = {family.name: family for family in metrics.read()}
        return {
            file for (file,) in families["gatewayd_certificate_expiry_timestamp_seconds"].cells()
        }

    before = shown()
    third = sign(authority, "third", "third.test")
    generation = await two_names.adopt(config(third))
    tls = generation.loaded.config.server.tls
    assert tls is not None
    two_names.server.reload_tls(tls)
    assert (len(before), shown()) == (2, {third["certificate"]})
    state.close()


@pytest.mark.parametrize("resumed", [False, True], ids=["open", "resumed"])
async def test_what_was_agreed_before_a_reload_is_no_way_around_a_certificate(
    authority: Authority, tmp_path: Path, resumed: bool
) -> None:
    own = sign(authority, "one", "gateway.test")
    async with serving(config(own), tmp_path) as gateway:
        client = Blocking(gateway.port, authority.client_context())
        assert await asyncio.to_thread(client.status) == 200
        generation = await gateway.adopt(config(own, extra=demand(authority, "required")))
        tls = generation.loaded.config.server.tls
        assert tls is not None
        gateway.server.reload_tls(tls)
        if resumed:
            assert await asyncio.to_thread(client.resume)
        assert await asyncio.to_thread(client.status) == 403
        client.close()


class Blocking:
    """A client of the standard library, which can resume a session."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port = port
        self._context = context
        self._socket: ssl.SSLSocket | None = None

    def _connect(self, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        return self._context.wrap_socket(plain, server_hostname="gateway.test", session=session)

    def status(self) -> int:
        if self._socket is None:
            self._socket = self._connect()
        self._socket.sendall(HEALTH.replace(b"close", b"keep-alive"))
        return int(self._socket.recv(65536).split(b" ")[1])

    def resume(self) -> bool:
        """Connect again with the session of the first connection; return whether that works."""
        assert self._socket is not None
        session = self._socket.session
        self._socket.close()
        self._socket = self._connect(session)
        return bool(self._socket.session_reused)

    def close(self) -> None:
        assert self._socket is not None
        self._socket.close()


async def test_a_reload_can_stop_demanding_client_certificates(
    authority: Authority, tmp_path: Path
) -> None:
    own = sign(authority, "one", "gateway.test")
    async with serving(config(own, extra=demand(authority, "required")), tmp_path) as gateway:
        generation = await gateway.adopt(config(own))
        tls = generation.loaded.config.server.tls
        assert tls is not None
        gateway.server.reload_tls(tls)
        assert await served_name(gateway, authority.client_context(), "gateway.test")


async def test_a_reload_can_raise_the_oldest_version(authority: Authority, tmp_path: Path) -> None:
    own = sign(authority, "one", "gateway.test")
    old = authority.client_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(config(own), tmp_path) as gateway:
        assert await served_name(gateway, old, "gateway.test")
        generation = await gateway.adopt(config(own, extra='minimum_version = "1.3"'))
        tls = generation.loaded.config.server.tls
        assert tls is not None
        gateway.server.reload_tls(tls)
        await refused(gateway, old)
        assert await served_name(gateway, authority.client_context(), "gateway.test")


async def test_a_reload_with_a_certificate_that_cannot_be_loaded_changes_nothing(
    authority: Authority, tmp_path: Path
) -> None:
    own = sign(authority, "one", "gateway.test")
    async with serving(config(own), tmp_path) as gateway:
        broken = TlsConfig.model_validate({
            "certificates": [own | {"key": "/nowhere.key"}],
            "client_ca": str(authority.file),
            "client_certificates": "required",
        })  # fmt: skip
        with pytest.raises(ConfigError):
            gateway.server.reload_tls(broken)
        assert await served_name(gateway, authority.client_context(), "gateway.test")


@pytest.mark.parametrize("settings", [{"password": "secret"}, {"alternatives": b"\x00nonsense"}])
def test_files_that_cannot_be_used_are_named(
    authority: Authority, settings: dict[str, Any]
) -> None:
    certificate = sign(authority, "one", **settings)
    model = TlsConfig.model_validate({"certificates": [certificate]})
    with pytest.raises(ConfigError, match=r"server\.tls\.certificates\[0\]"):
        TlsContext(model)


async def test_a_client_that_speaks_no_tls_is_turned_away(
    authority: Authority, tmp_path: Path
) -> None:
    async with serving(config(sign(authority, "one", "gateway.test")), tmp_path) as gateway:
        wire = await Wire.connect(gateway.port)
        wire.send(HEALTH)
        assert not (await wire.read_to_end()).startswith(b"HTTP/")
        wire.close()
        assert await served_name(gateway, authority.client_context(), "gateway.test")


@pytest.mark.slow
async def test_the_end_of_a_response_has_the_time_of_sending(
    authority: Authority, tmp_path: Path
) -> None:
    """A client that takes nothing for 6 s, which is shorter than `send_timeout`, loses nothing."""
    size = 8_000_000

    async def much(exchange: Exchange) -> Response:
        return Response(200, body=bytes(size))

    def ask_and_read_late(port: int) -> bytes:
        client = TlsClient(authority, port, "gateway.test")
        try:
            client.send(HEALTH)
            client.read(1)
            time.sleep(6)
            return client.read_to_end()
        finally:
            client.close()

    text = config(sign(authority, "one", "gateway.test"), filters=["answer"])
    async with serving(text, tmp_path, plugins_with(answering(much))) as gateway:
        received = await asyncio.to_thread(ask_and_read_late, gateway.port)
    assert len(received.partition(b"\r\n\r\n")[2]) == size


async def much(exchange: Exchange) -> Response:
    return Response(200, body=bytes(8_000_000))


def listener(authority: Authority, more: str = "") -> str:
    """Return settings of a listener with one certificate."""
    one = sign(authority, "one", "gateway.test")
    listed = f'{{ certificate = "{one["certificate"]}", key = "{one["key"]}" }}'
    return f"tls.certificates = [{listed}]\n{more}"


@pytest.mark.slow
async def test_a_slow_client_has_more_than_the_time_of_sending_for_the_end(
    serve: Serve, authority: Authority
) -> None:
    """The connection is closing, and the clock of its deadline stands still."""

    def ask_and_read_late(port: int) -> bytes:
        client = TlsClient(authority, port, "gateway.test")
        try:
            client.send(HEALTH)
            client.read(1)
            time.sleep(0.5)  # much longer than `send_timeout`, as a clock of TLS might count it
            return client.read_to_end()
        finally:
            client.close()

    served = await serve(much, listener(authority, "send_timeout = 0.05"))
    received = await asyncio.to_thread(ask_and_read_late, served.gateway.port)
    assert len(received.partition(b"\r\n\r\n")[2]) == 8_000_000


async def test_a_client_that_never_takes_the_end_is_dropped_in_time(
    serve: Serve, authority: Authority
) -> None:
    served = await serve(much, listener(authority, "send_timeout = 60"))
    port = served.gateway.port
    client = await asyncio.to_thread(TlsClient, authority, port, name="gateway.test")
    try:
        client.send(HEALTH)
        connection = await served.connection()
        await until(lambda: connection.transport is None or connection.transport.is_closing())
        await served.wait_until_closed(60)
    finally:
        client.close()


async def test_a_client_that_is_one_too_many_and_does_not_go_is_dropped_in_time(
    serve: Serve, authority: Authority
) -> None:
    served = await serve(much, listener(authority, "max_connections = 1"))
    server, port = served.gateway.server, served.gateway.port
    first = await asyncio.to_thread(TlsClient, authority, port, name="gateway.test")
    await until(lambda: server.open_connections)
    second = await asyncio.to_thread(TlsClient, authority, port, name="gateway.test")
    try:
        await until(lambda: server.refused_connections)
        await served.wait_until_closed(60)
    finally:
        first.close()
        second.close()


async def test_a_slow_client_that_takes_something_is_not_dropped(
    serve: Serve, authority: Authority
) -> None:
    """What it takes, the kernel gets anew of what TLS has given away: nothing else grows less."""

    async def answer(exchange: Exchange) -> Response:
        return Response(200, body=IterBody(endless()))

    served = await serve(answer, listener(authority, "send_timeout = 60"))
    client = await asyncio.to_thread(TlsClient, authority, served.gateway.port, name="gateway.test")
    try:
        connection = await served.connection()
        assert connection.transport is not None
        # As little as a slow network lets the kernel hold.
        sock = connection.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
        client.send(HEALTH)
        await until(lambda: connection.writing_paused)
        for _ in range(40):
            await asyncio.to_thread(take, client, 50_000)
            await served.wait(30)
            assert served.gateway.server.open_connections == 1
    finally:
        client.close()
    await served.until_closed()


async def endless() -> AsyncGenerator[bytes, None]:
    while True:
        yield bytes(50_000)


def take(client: TlsClient, count: int) -> None:
    """Read that many bytes at least."""
    while count > 0:
        piece = client.read(min(count, 65536))
        assert piece, "the connection has ended"
        count -= len(piece)


async def refused(gateway: InProcessGateway, context: ssl.SSLContext) -> None:
    """Check that a client gets no answer."""
    # In TLS 1.3 the client learns of the refusal with the first answer, or of the end only.
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        await served_name(gateway, context, "gateway.test")


def demand(authority: Authority, mode: str) -> str:
    return f'client_ca = "{authority.file}"\nclient_certificates = "{mode}"'
