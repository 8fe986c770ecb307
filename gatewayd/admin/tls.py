"""TLS of the admin listener. Apart from it, as ``gatewayd check`` needs nothing else of it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from gatewayd.errors import ConfigError, ConfigIssue

if TYPE_CHECKING:
    from gatewayd.admin.settings import AdminConfig


def tls_context(config: AdminConfig) -> ssl.SSLContext | None:
    """Return the context of the admin listener; ``None`` where it speaks plain HTTP.

    Raises:
        ConfigError: certificate, key or authorities cannot be loaded.

    """
    if config.tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.tls.certificate, config.tls.key, password="")
        if config.tls.client_ca is not None:
            context.load_verify_locations(config.tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        message = f"certificate, key or authorities cannot be loaded: {error}"
        raise ConfigError(ConfigIssue(message, key="admin.tls")) from error
    return context
