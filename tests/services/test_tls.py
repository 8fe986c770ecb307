from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from gatewayd.config.schema import UpstreamTlsConfig
from gatewayd.errors import ConfigError
from gatewayd.services.tls import ClientTls

if TYPE_CHECKING:
    from pathlib import Path


def context(**settings: object) -> ssl.SSLContext:
    return ClientTls("api", UpstreamTlsConfig.model_validate(settings)).context


def test_certificates_and_host_names_are_verified_by_default() -> None:
    made = context()
    assert made.verify_mode is ssl.CERT_REQUIRED
    assert made.check_hostname
    assert made.minimum_version is ssl.TLSVersion.TLSv1_2
    assert made.cert_store_stats()["x509_ca"] > 0


def test_own_authorities_replace_those_of_the_system(authority: bytes, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority)
    assert context(ca=str(ca)).cert_store_stats()["x509_ca"] == 1


def test_verification_can_be_turned_off() -> None:
    made = context(verify=False)
    assert made.verify_mode is ssl.CERT_NONE
    assert not made.check_hostname


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nonsense")
    with pytest.raises(ConfigError, match=r"services\.api\.tls\.ca: not a usable PEM file"):
        context(ca=str(file))


def test_an_encrypted_key_is_refused_without_asking_the_terminal(
    authority: bytes, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(authority)
    encryption = BestAvailableEncryption(b"secret")
    private = ec.generate_private_key(ec.SECP256R1())
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    with pytest.raises(ConfigError, match=r"services\.api\.tls\.certificate: not a usable PEM"):
        context(certificate=str(certificate), key=str(key))
