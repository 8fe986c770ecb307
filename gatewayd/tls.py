"""TLS as a client: the same is asked of servers whatever the version of Python."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from gatewayd.errors import ConfigError, ConfigIssue

if TYPE_CHECKING:
    from collections.abc import Iterator


class ClientFiles(Protocol):
    """Settings that name the files of a client, each ``None`` where there is none."""

    @property
    def ca(self) -> str | None:
        """PEM file of the authorities."""

    @property
    def certificate(self) -> str | None:
        """PEM file of the certificate to show."""

    @property
    def key(self) -> str | None:
        """PEM file of its private key."""


def tls_client_context(
    ca: str | None = None,
    *,
    verify: bool = True,
    certificate: str | None = None,
    key: str | None = None,
) -> ssl.SSLContext:
    """Return what verifies a server, by its chain and its name.

    What `ca` names is trusted itself, be it an intermediate authority. Certificates need not have
    each extension that RFC 5280 section 4.2 asks of authorities: Python 3.13 began to refuse those
    without an authority key identifier, which private authorities leave out, and which Envoy,
    nginx and Go take.

    Args:
        ca: PEM file of the authorities; the system's where absent.
        verify: Whether anything is verified at all.
        certificate: PEM file of the certificate to show, with its chain.
        key: PEM file of its private key; the file of the certificate where absent.

    Raises:
        OSError: a file cannot be read or is not what it should be.

    """
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 9325 section 3.1.1
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        # An empty password, else OpenSSL asks the terminal for that of an encrypted key.
        context.load_cert_chain(certificate, key, password="")
    return context


def check_client_files(place: str, files: ClientFiles) -> None:
    """See whether files can be used, so that the start tells of it and not the first connection.

    Args:
        place: Key of the table that names them, such as ``redis.tls``.
        files: The table.

    Raises:
        ConfigError: one of them cannot be used; it names the key.

    """
    if files.ca is not None:
        with _loading(files.ca, f"{place}.ca"):
            tls_client_context(files.ca)
    if files.certificate is not None:
        with _loading("certificate or key", f"{place}.certificate"):
            tls_client_context(certificate=files.certificate, key=files.key)
    elif files.key is not None:
        issue = ConfigIssue("goes with `certificate`, which is missing", key=f"{place}.key")
        raise ConfigError(issue)


@contextmanager
def _loading(what: str, key: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a zero byte in a name
        raise ConfigError(ConfigIssue(f"{what} cannot be loaded: {error}", key=key)) from error
