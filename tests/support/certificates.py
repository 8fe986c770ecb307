"""Certificates for tests, made when they are needed and valid for a day."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtensionOID, NameOID

from gatewayd import tls_client_context


class Authority:
    """Signs certificates, with no more extensions than private authorities are known to give.

    Args:
        folder: Existing folder for what is written.
        name: Name of the authority.

    Attributes:
        file: Its own certificate, as PEM.

    """

    def __init__(self, folder: Path, name: str = "Test Authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = _builder(self._name, self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(_pem(certificate.sign(self._key, hashes.SHA256())))

    def issue(
        self,
        *names: str,
        file: str = "",
        password: str = "",
        common_name: str = "test",
        alternatives: bytes = b"",
    ) -> tuple[str, str]:
        """Sign a certificate.

        Args:
            names: Its host names and addresses.
            file: Name of its files, without suffix; the first name where absent.
            password: Password of the key, if it has one.
            common_name: Its subject.
            alternatives: Bytes that stand where the encoded names should.

        Returns:
            The paths of certificate and key.

        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = _builder(subject, self._name, key)
        if alternatives:
            oid = ExtensionOID.SUBJECT_ALTERNATIVE_NAME
            raw = x509.UnrecognizedExtension(oid, alternatives)
            builder = builder.add_extension(raw, critical=False)
        elif names:
            listed = x509.SubjectAlternativeName([_general(name) for name in names])
            builder = builder.add_extension(listed, critical=False)
        base = self._folder / (file or names[0].replace("*", "_"))
        certificate, private = Path(f"{base}.crt"), Path(f"{base}.key")
        certificate.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))
        encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        return str(certificate), str(private)

    def server_context(self, *names: str) -> ssl.SSLContext:
        """Return what a server of these names needs."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(*names))
        return context

    def client_context(self, certificate: tuple[str, str] | None = None) -> ssl.SSLContext:
        """Return what a client needs that trusts this authority."""
        shown, key = certificate or (None, None)
        return tls_client_context(str(self.file), certificate=shown, key=key)


def _general(name: str) -> x509.GeneralName:
    if name.replace(".", "").isdigit():
        return x509.IPAddress(ip_address(name))
    return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
