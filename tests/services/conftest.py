from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gatewayd.config.schema import ServiceConfig
from gatewayd.gateway import Gateway, KeptState
from gatewayd.readiness import Readiness
from gatewayd.registry import Plugins
from gatewayd.routing.table import RouteTable
from gatewayd.services.table import build_services
from gatewayd.timers import Sweeper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gatewayd.services.discovery import Discovery
    from gatewayd.services.followed import FollowedService


class Generations:
    """What several generations share, to build the services of one after the other."""

    def __init__(self) -> None:
        self.kept = KeptState()
        self.plugins = Plugins()
        self.sweeper = Sweeper()

    def install(self, discovery: type[Discovery]) -> None:
        """Let services use a discovery of the test."""
        self.plugins.discovery._loaded[discovery.name] = discovery

    @asynccontextmanager
    async def build(
        self, configs: Mapping[str, Mapping[str, Any]]
    ) -> AsyncIterator[dict[str, FollowedService]]:
        """Build the services of one generation, and close it at the end."""
        gateway = Gateway(
            clock=self.sweeper.clock,
            routes=RouteTable([]),
            services={},
            plugins=self.plugins,
            kept=self.kept,
            readiness=Readiness(),
        )
        models = {name: ServiceConfig.model_validate(config) for name, config in configs.items()}
        try:
            yield build_services(models, gateway, self.kept, self.sweeper)
        finally:
            assert await gateway.close() == []


@pytest.fixture
async def generations() -> AsyncIterator[Generations]:
    generations = Generations()
    yield generations
    generations.sweeper.close()
    assert len(generations.kept) == 0


@pytest.fixture(scope="session")
def authority() -> bytes:
    """A certificate that signs itself, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Authority")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)
