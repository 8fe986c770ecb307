"""Whom a gateway that is a client believes; handshakes in memory."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from gatewayd import tls_client_context
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str = "a.test") -> None:
    """Raise what a client raises that connects to a server by this name."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):  # TLS 1.3 is done after two
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
    assert not ends


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def server(authority: Authority) -> ssl.SSLContext:
    return authority.server_context("a.test")


def test_a_certificate_without_an_authority_key_identifier_is_taken(
    authority: Authority, server: ssl.SSLContext
) -> None:
    # RFC 5280 asks for one; Python 3.13 and later refuse it by default, earlier ones do not.
    shake_hands(tls_client_context(str(authority.file)), server)


def test_what_is_named_is_trusted_without_its_own_issuer(
    authority: Authority, server: ssl.SSLContext, tmp_path: Path
) -> None:
    certificate, _ = authority.issue("a.test", file="pinned")
    pinned = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pinned.load_cert_chain(certificate, tmp_path / "pinned.key")
    client = tls_client_context(certificate)
    shake_hands(client, pinned)
    with pytest.raises(ssl.SSLCertVerificationError):  # the same issuer, but not the same one
        shake_hands(client, server)


@pytest.mark.parametrize(
    ("trusted", "name", "reason"),
    [
        ("other", "a.test", "signature|issuer"),
        ("right", "b.test", "Hostname mismatch"),
        (None, "a.test", "issuer"),
    ],
    ids=["another authority", "another name", "the system's authorities"],
)
def test_others_are_not_believed(
    authority: Authority,
    server: ssl.SSLContext,
    tmp_path: Path,
    trusted: str | None,
    name: str,
    reason: str,
) -> None:
    files = {"right": authority.file, "other": Authority(tmp_path, "Other").file}
    client = tls_client_context(str(files[trusted]) if trusted else None)
    with pytest.raises(ssl.SSLCertVerificationError, match=reason):
        shake_hands(client, server, name)


def test_nothing_is_verified_where_that_is_asked_for(server: ssl.SSLContext) -> None:
    shake_hands(tls_client_context(verify=False), server, "b.test")


def test_a_certificate_is_shown(authority: Authority, server: ssl.SSLContext) -> None:
    server.load_verify_locations(authority.file)
    server.verify_mode = ssl.CERT_REQUIRED
    certificate, key = authority.issue("client.test")
    client = tls_client_context(str(authority.file), certificate=certificate, key=key)
    shake_hands(client, server)


def test_an_encrypted_key_is_an_error_and_no_question(authority: Authority) -> None:
    certificate, key = authority.issue("client.test", password="secret")
    with pytest.raises(OSError, match=r"(?i)bad decrypt|bad password|empty|PEM"):
        tls_client_context(certificate=certificate, key=key)
