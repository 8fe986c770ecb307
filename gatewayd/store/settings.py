"""Settings of the store."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from gatewayd.config.model import Model
from gatewayd.config.types import Seconds


def _store_url(value: str) -> str:
    # SQLAlchemy 2.1 decodes them and 2.0 does not; and the name stands in a statement, in which
    # drivers take them for a format.
    if "%" in (value if value.startswith("sqlite:") else urlsplit(value).path):
        raise ValueError("expected no % in the name of a file or database")
    if value.startswith("sqlite:///") and len(value) > len("sqlite:///"):
        return value
    parts = urlsplit(value)
    if parts.scheme != "mysql" or not parts.hostname or len(parts.path) < 2:
        raise ValueError("expected sqlite:///FILE or mysql://USER:PASSWORD@HOST:PORT/DATABASE")
    if parts.query or parts.fragment:
        raise ValueError("expected no ? or # in a URL; TLS and time-outs have keys of their own")
    if parts.port == 0:  # raises ValueError where it is not a number up to 65535
        raise ValueError("nothing listens on port 0")
    if not parts.path[1:].replace("_", "").replace("-", "").isalnum():
        raise ValueError("expected letters, digits, _ and - in the name of a database")
    return value


StoreUrl = Annotated[str, AfterValidator(_store_url)]


class StoreTlsConfig(Model):
    """TLS towards MySQL. A server that offers none is refused before anything is sent."""

    enabled: bool = True
    """`false` for plain connections, where the network is trusted as the machine itself is."""
    ca: str | None = None
    """PEM file of the authorities; the system's where absent."""
    verify: bool = True
    """Whether certificate and host name are verified."""
    certificate: str | None = None
    """PEM file of the client certificate."""
    key: str | None = None
    """PEM file of its private key."""


class StoreConfig(Model):
    """The SQL database: API keys, routes, audit and more.

    SQLite is for one node and needs no care: its tables are made when it is opened. MySQL 8 and
    MariaDB are for clusters; `gatewayd init-db` makes database and tables.
    """

    url: StoreUrl = Field("sqlite:///var/gatewayd.db", repr=False)
    """`sqlite:///FILE`, or `mysql://USER:PASSWORD@HOST:PORT/DATABASE`, the node that is written to;
    a relative file lies in the working directory. Characters such as `@` in a password are written
    as in any URL: `%40`."""
    standbys: tuple[StoreUrl, ...] = Field((), repr=False)
    """Nodes that may be written to where `url` takes no connection, in this order. For clusters in
    which a node that must not be written to refuses it by itself (`super_read_only`)."""
    replicas: tuple[StoreUrl, ...] = Field((), repr=False)
    """Nodes that are read from. What has to be fresh, such as API keys, is read from `url` as long
    as that can be reached."""
    read_strategy: Literal["round_robin", "first", "random"] = "round_robin"
    """Which replica is asked first; the others follow where it fails, and `url` at last."""
    connect_timeout: Seconds = 2.0
    """Time to make a connection."""
    timeout: Seconds = 5.0
    """Time for one operation on one node, its connection included."""
    retries: int = Field(2, ge=0, le=10)
    """How often reading is tried again when all nodes have failed. What is written is tried again
    only where it is certain that nothing was: no connection, or a deadlock."""
    backoff: Seconds = 0.1
    """Pause before the first of these, doubled for each further one."""
    avoid_failed: Seconds = 5.0
    """How long a node that has failed is asked last."""
    pool_size: int = Field(4, ge=1, le=100)
    """Connections to each node, per worker. Requests never wait for the store, so few will do."""
    recycle: Seconds = 1800.0
    """Age at which a connection is replaced, below MySQL's `wait_timeout` of 8 hours and what
    firewalls forget after an hour."""
    tls: StoreTlsConfig | None = None
    """TLS towards MySQL. Where absent, connections within this machine are plain, and others need a
    certificate that the system's authorities have signed."""

    @model_validator(mode="after")
    def _one_kind(self) -> StoreConfig:
        if self.embedded and (self.standbys or self.replicas):
            raise ValueError("SQLite has neither standbys nor replicas")
        others = (*self.standbys, *self.replicas)
        if any(url.startswith("sqlite:") for url in others):
            raise ValueError("standbys and replicas of MySQL are MySQL")
        return self

    @property
    def embedded(self) -> bool:
        """Whether it is SQLite, which no other node can see."""
        return self.url.startswith("sqlite:")
