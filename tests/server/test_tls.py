"""TLS on the listener: certificates by SNI, files that change, clients with certificates."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import pytest

from gatewayd import ConfigError
from gatewayd.config.schema import TlsConfig
from gatewayd.server.tls import TlsContext
from tests.support.certificates import Authority
from tests.support.in_process import InProcessGateway, serving
from tests.support.raw import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HEALTH = b"GET /health HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def sign(authority: Authority, file: str, *names: str, **settings: str) -> dict[str, str]:
    """Return certificate and key for these names as ``gateway.toml`` names them."""
    common_name = names[0] if names else "nobody"
    paths = authority.issue(*names, file=file, common_name=common_name, **settings)
    return dict(zip(("certificate", "key"), paths, strict=True))


def config(*certificates: dict[str, str], extra: str = "") -> str:
    listed = ", ".join(
        f'{{ certificate = "{one["certificate"]}", key = "{one["key"]}" }}' for one in certificates
    )
    return f"""
[pipeline]
filters = ["ops", "route_match", "balancer", "upstream"]
[server.tls]
certificates = [{listed}]
{extra}
"""


async def served_name(gateway: InProcessGateway, context: ssl.SSLContext, name: str) -> str:
    """Return the common name of the certificate that a client gets who asks for a name."""
    wire = await Wire.connect(gateway.port, ssl=context, server_hostname=name)
    certificate = wire.tls.getpeercert()
    assert certificate is not None
    answer = await wire.ask(HEALTH)
    assert answer.status == 200
    wire.close()
    return dict(pair for (pair,) in certificate["subject"])["commonName"]


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
    extra = f'client_ca = "{authority.file}"\nclient_certificates = "required"'
    async with serving(config(own, extra=extra), tmp_path) as gateway:
        client = authority.client_context(authority.issue("client.test"))
        assert await served_name(gateway, client, "gateway.test") == "gateway.test"
        anonymous = await Wire.connect(
            gateway.port, ssl=authority.client_context(), server_hostname="gateway.test"
        )
        # In TLS 1.3 the client learns of the refusal with the first answer, or of the end only.
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await anonymous.ask(HEALTH)
        anonymous.close()


async def test_tls_1_2_is_the_oldest_that_is_spoken(authority: Authority, tmp_path: Path) -> None:
    async with serving(config(sign(authority, "server", "gateway.test")), tmp_path) as gateway:
        context = authority.client_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await served_name(gateway, context, "gateway.test") == "gateway.test"
        assert gateway.server._tls is not None
        assert gateway.server._tls.context.minimum_version is ssl.TLSVersion.TLSv1_2
