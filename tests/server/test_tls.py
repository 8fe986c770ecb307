"""TLS on the listener: certificates by SNI, files that change, clients with certificates."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gatewayd import ConfigError
from gatewayd.config.schema import TlsConfig
from gatewayd.server.tls import TlsContext
from tests.support.in_process import InProcessGateway, serving
from tests.support.raw import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HEALTH = b"GET /health HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n"


class Authority:
    """Signs certificates for the tests, and writes them into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Authority")])
        own = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.file = folder / "authority.pem"
        self.file.write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )

    def sign(self, file: str, *names: str) -> dict[str, str]:
        """Write certificate and key for these DNS names; return them as ``gateway.toml`` does."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        certificate = (
            self._builder(subject, key)
            .add_extension(alternatives, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        paths = {kind: self._folder / f"{file}.{kind}.pem" for kind in ("certificate", "key")}
        paths["certificate"].write_bytes(certificate.public_bytes(Encoding.PEM))
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        paths["key"].write_bytes(private)
        return {kind: str(path) for kind, path in paths.items()}

    def client(self, certificate: dict[str, str] | None = None) -> ssl.SSLContext:
        """Return the context of a client that trusts this authority."""
        context = ssl.create_default_context(cafile=str(self.file))
        if certificate is not None:
            context.load_cert_chain(certificate["certificate"], certificate["key"])
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


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
    first = authority.sign("first", "first.test", "other.first.test")
    second = authority.sign("second", "second.test", "*.wild.test")
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
    assert await served_name(two_names, authority.client(), asked) == served


async def test_an_unknown_name_gets_the_first_certificate(
    two_names: InProcessGateway, authority: Authority
) -> None:
    context = authority.client()
    context.check_hostname = False
    assert await served_name(two_names, context, "unknown.test") == "first.test"


async def test_changed_files_are_served(authority: Authority, tmp_path: Path) -> None:
    certificate = authority.sign("one", "before.test", "gateway.test")
    async with serving(config(certificate), tmp_path) as gateway:
        assert await served_name(gateway, authority.client(), "gateway.test") == "before.test"
        authority.sign("one", "after.test", "gateway.test")
        tls = gateway.server._tls
        assert tls is not None
        assert tls.check_files()
        assert await served_name(gateway, authority.client(), "gateway.test") == "after.test"


async def test_broken_files_leave_the_old_certificate(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = authority.sign("one", "gateway.test")
    async with serving(config(certificate), tmp_path) as gateway:
        (tmp_path / "one.certificate.pem").write_text("nonsense")
        tls = gateway.server._tls
        assert tls is not None
        assert not tls.check_files()
        assert "changed certificates are not used" in caplog.text
        assert await served_name(gateway, authority.client(), "gateway.test") == "gateway.test"


def test_unchanged_files_are_not_loaded_again(authority: Authority) -> None:
    tls = TlsContext(TlsConfig.model_validate({"certificates": [authority.sign("one", "a.test")]}))
    assert not tls.check_files()


@pytest.mark.parametrize("missing", ["certificate", "key"])
def test_a_file_that_cannot_be_loaded_is_named(authority: Authority, missing: str) -> None:
    certificate = authority.sign("one", "a.test") | {missing: "/nowhere.pem"}
    model = TlsConfig.model_validate({"certificates": [certificate]})
    with pytest.raises(ConfigError, match=r"server\.tls\.certificates\[0\]"):
        TlsContext(model)


def test_client_authorities_that_cannot_be_loaded_are_named(authority: Authority) -> None:
    model = TlsConfig.model_validate({
        "certificates": [authority.sign("one", "a.test")],
        "client_ca": "/nowhere.pem",
        "client_certificates": "required",
    })  # fmt: skip
    with pytest.raises(ConfigError, match=r"server\.tls\.client_ca"):
        TlsContext(model)


async def test_a_required_client_certificate_is_required(
    authority: Authority, tmp_path: Path
) -> None:
    own = authority.sign("server", "gateway.test")
    extra = f'client_ca = "{authority.file}"\nclient_certificates = "required"'
    async with serving(config(own, extra=extra), tmp_path) as gateway:
        client = authority.client(authority.sign("client", "client.test"))
        assert await served_name(gateway, client, "gateway.test") == "gateway.test"
        anonymous = await Wire.connect(
            gateway.port, ssl=authority.client(), server_hostname="gateway.test"
        )
        # In TLS 1.3 the client learns of the refusal with the first answer, or of the end only.
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await anonymous.ask(HEALTH)
        anonymous.close()


async def test_tls_1_2_is_the_oldest_that_is_spoken(authority: Authority, tmp_path: Path) -> None:
    async with serving(config(authority.sign("server", "gateway.test")), tmp_path) as gateway:
        context = authority.client()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await served_name(gateway, context, "gateway.test") == "gateway.test"
        assert gateway.server._tls is not None
        assert gateway.server._tls.context.minimum_version is ssl.TLSVersion.TLSv1_2
