"""TLS on the listener: several certificates by SNI, and files that change while running.

A listening socket keeps the context that it was given. What is served is chosen in its SNI
callback, which moves the handshake to the context of the matching certificate; loading changed
files replaces those contexts, and running connections keep theirs.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayd.errors import ConfigError, ConfigIssue

if TYPE_CHECKING:
    from gatewayd.config.schema import CertificateConfig, TlsConfig

logger = logging.getLogger("gatewayd.tls")

# How often the certificate files are looked at. A stat of a few files is nothing; a certificate is
# renewed days before it expires.
_WATCH_SECONDS = 5.0
_VERIFY = {
    "off": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


class TlsContext:
    """The listener's TLS.

    Args:
        config: Certificates and client authentication.

    Raises:
        ConfigError: a file cannot be loaded.

    Attributes:
        context: What the listening socket gets.
        expiries: When each certificate expires, in seconds of the Unix clock, by its file.

    """

    def __init__(self, config: TlsConfig) -> None:
        self.context = _context(config, config.certificates[0], 0)
        self.context.sni_callback = self._choose
        self._load(config)
        self._watcher: asyncio.Task[None] | None = None

    def _load(self, config: TlsConfig) -> None:
        stamp = _stamp(config)
        by_name: dict[str, ssl.SSLContext] = {}
        expiries: dict[str, float] = {}
        contexts = []
        for index, certificate in enumerate(config.certificates):
            contexts.append(_context(config, certificate, index))
            names, expiries[certificate.certificate] = _read(certificate.certificate, index)
            for name in names:
                by_name.setdefault(name, contexts[-1])
        self._config, self._stamp = config, stamp
        self._by_name, self._default = by_name, contexts[0]
        self.expiries = expiries
        # These are settled before the client's name is known.
        self.context.minimum_version = contexts[0].minimum_version
        self.context.verify_mode = contexts[0].verify_mode

    def _choose(
        self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext
    ) -> None:
        """Pick the certificate: the exact name, then its wildcard, then the first one."""
        name = (name or "").lower().rstrip(".")
        wildcard = "*." + name.partition(".")[2]
        connection.context = self._by_name.get(name) or self._by_name.get(wildcard) or self._default

    def replace(self, config: TlsConfig) -> None:
        """Serve what another configuration says; raises as the constructor does."""
        self._load(config)

    def watch(self) -> None:
        """Look at the files from now on, until :meth:`close`."""
        self._watcher = asyncio.create_task(self._watch(), name="certificate watcher")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            self.check_files()

    def check_files(self) -> bool:
        """Load changed files; return whether there were any. What cannot be loaded is logged."""
        stamp = _stamp(self._config)
        if stamp == self._stamp:
            return False
        try:
            self._load(self._config)
        except ConfigError as error:
            self._stamp = stamp  # say it once, not every few seconds
            logger.error("changed certificates are not used: %s", error)  # noqa: TRY400
            return False
        logger.info("changed certificates are in use")
        return True

    async def close(self) -> None:
        """Stop looking at the files."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)


def _context(config: TlsConfig, certificate: CertificateConfig, index: int) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = (
        ssl.TLSVersion.TLSv1_3 if config.minimum_version == "1.3" else ssl.TLSVersion.TLSv1_2
    )
    context.set_alpn_protocols(["http/1.1"])
    key = f"server.tls.certificates[{index}]"
    try:
        # The password keeps OpenSSL from asking for one on the terminal.
        context.load_cert_chain(certificate.certificate, certificate.key, password="")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            ConfigIssue(f"certificate or key cannot be loaded: {error}", key=key)
        ) from error
    if config.client_ca is not None:
        try:
            context.load_verify_locations(config.client_ca)
        except (OSError, ssl.SSLError) as error:
            message = f"authorities cannot be loaded: {error}"
            raise ConfigError(ConfigIssue(message, key="server.tls.client_ca")) from error
        context.verify_mode = _VERIFY[config.client_certificates]
    return context


def _read(path: str, index: int) -> tuple[list[str], float]:
    """Return a certificate's DNS names, lower case, and when it expires.

    Only the alternative names count.
    """
    from cryptography import x509  # here: 8 MB that a worker without TLS need not have

    # The last three are no kinds of ValueError; OpenSSL 3.5 loads what raises them.
    unusable = (
        OSError,
        ValueError,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    )
    try:
        certificate = x509.load_pem_x509_certificate(Path(path).read_bytes())
        expires_at = certificate.not_valid_after_utc.timestamp()
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [], expires_at  # RFC 9525 section 2: the common name is no host name
    except unusable as error:
        key = f"server.tls.certificates[{index}]"
        raise ConfigError(ConfigIssue(f"certificate cannot be read: {error}", key=key)) from error
    return [name.lower() for name in names.get_values_for_type(x509.DNSName)], expires_at


def _stamp(config: TlsConfig) -> tuple[tuple[int, int, int], ...]:
    """Return what changes when any of the files does."""
    paths = [path for one in config.certificates for path in (one.certificate, one.key)]
    if config.client_ca is not None:
        paths.append(config.client_ca)
    stamps = []
    for path in paths:
        try:
            status = Path(path).stat()
            stamps.append((status.st_mtime_ns, status.st_size, status.st_ino))
        except OSError:
            stamps.append((0, 0, 0))
    return tuple(stamps)
