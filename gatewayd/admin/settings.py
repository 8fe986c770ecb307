"""Settings of the admin listener."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from gatewayd.config.model import Model

_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")


def _listen(value: str) -> str:
    if value.startswith("unix:"):
        if not value.startswith("unix:/"):
            raise ValueError("expected unix:/PATH, with an absolute path")
        return value
    match = _ADDRESS.fullmatch(value)
    if match is None or int(match["port"]) > 65535:
        raise ValueError("expected HOST:PORT or unix:/PATH")
    return value


class AdminTlsConfig(Model):
    """TLS on the admin listener."""

    certificate: str
    """PEM file: the certificate, then its chain."""
    key: str
    """PEM file of the private key."""
    client_ca: str | None = None
    """PEM file of the authorities that sign the certificates of operators, which are required then;
    without it operators need the token."""
    client_certificate: str | None = None
    """PEM file of the certificate that `gatewayd status` and its like show, on this machine."""
    client_key: str | None = None
    """PEM file of its private key."""

    @model_validator(mode="after")
    def _pair(self) -> AdminTlsConfig:
        if (self.client_certificate is None) != (self.client_key is None):
            raise ValueError("client_certificate and client_key go together")
        return self


class AdminConfig(Model):
    """The admin listener: metrics, health, what runs, and how to change it.

    It is never on the public listener. Anybody who may use it controls the gateway: without a token
    or certificates it listens on loopback or a Unix socket only.
    """

    listen: Annotated[str, AfterValidator(_listen)]
    """`HOST:PORT`, or `unix:/PATH` for a socket that only this user may use."""
    token: str | None = Field(None, min_length=16, repr=False)
    """What operators send as `Authorization: Bearer TOKEN`, a secret of at least 16 characters.
    `/health` and `/ready` need none."""
    open_metrics: bool = False
    """Whether `/metrics` needs no token, as scrapers often have none. With `tls.client_ca` they
    need a certificate, as everybody does."""
    max_connections: int = Field(64, ge=1, le=65_536)
    """Connections at once, of all clients together; the next ones are closed and counted, so that
    none takes the descriptors of the process that supervises the workers."""
    tls: AdminTlsConfig | None = None
    """TLS settings; required beyond loopback."""

    @property
    def path(self) -> str | None:
        """Path of the Unix socket, if it is one."""
        return self.listen.removeprefix("unix:") if self.listen.startswith("unix:") else None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, where it is none."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        if self.path is not None:
            return True
        host, _ = self.address
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @model_validator(mode="after")
    def _guarded(self) -> AdminConfig:
        if self.path is not None and self.tls is not None:
            raise ValueError("a Unix socket has no TLS")
        if self.is_local:
            return self
        if self.tls is None:
            raise ValueError("beyond loopback it needs tls: a token must not be sent in the clear")
        if self.token is None and self.tls.client_ca is None:
            raise ValueError("beyond loopback it needs a token, or tls.client_ca")
        return self
