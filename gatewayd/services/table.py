"""The services of one generation, made from their configuration."""

from __future__ import annotations

import hashlib
import logging
from functools import partial
from typing import TYPE_CHECKING

import orjson
from pydantic import ValidationError

from gatewayd.config.schema import ServiceConfig
from gatewayd.errors import ConfigError, ConfigIssue
from gatewayd.registry import PluginError
from gatewayd.services.checks import Checks
from gatewayd.services.followed import FollowedService
from gatewayd.services.health import Health
from gatewayd.services.outlier import Outliers
from gatewayd.services.pools import Pools
from gatewayd.services.tls import ClientTls, files_digest
from gatewayd.upstream.names import Names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayd.gateway import Gateway, KeptState
    from gatewayd.registry import Plugins
    from gatewayd.services.discovery import Discovery
    from gatewayd.timers import Sweeper

logger = logging.getLogger("gatewayd.services")

CONNECTION_SETTINGS = set(ServiceConfig.model_fields) - {
    "discovery", "filters", "health", "outlier",
}  # fmt: skip
"""The settings of a service that its connections depend on."""


HEALTH_SETTINGS = {"health", "outlier", "tls"}
"""The settings of a service that what is known of its health depends on."""


def build_services(
    configs: Mapping[str, ServiceConfig], gateway: Gateway, kept: KeptState, sweeper: Sweeper
) -> dict[str, FollowedService]:
    """Make the services, or take over those whose settings have not changed.

    Args:
        configs: Their settings, by name.
        gateway: Of the generation that they are for; it gives them back when that closes.
        kept: Where connection pools are shared with other generations.
        sweeper: Watches the deadlines of connections.

    Raises:
        ConfigError: settings cannot be used.

    """
    names = gateway.keep(("names",), Names)
    services: dict[str, FollowedService] = {}
    issues: list[ConfigIssue] = []
    for name, config in configs.items():
        try:
            services[name] = _build(name, config, gateway, kept, sweeper, names)
        except ConfigError as error:
            issues += error.issues
    if issues:
        raise ConfigError(issues)
    return services


def _build(
    name: str,
    config: ServiceConfig,
    gateway: Gateway,
    kept: KeptState,
    sweeper: Sweeper,
    names: Names,
) -> FollowedService:
    # Filters have the service's layer from the configuration, not from here: without it the
    # service survives a reload that only changes settings of filters.
    config = config.model_copy(update={"filters": {}})
    files = files_digest(name, config.tls)
    tls = gateway.keep(("client tls", config.tls, files), partial(ClientTls, name, config.tls))
    if files:
        _ = tls.context  # what the files are not, `gatewayd check` must find
    identity = _digest(config, CONNECTION_SETTINGS) + files
    health = None
    if config.health is not None or config.outlier is not None:
        key = f"health {name} {_digest(config, HEALTH_SETTINGS)} {files}"
        health = gateway.keep(
            key, partial(_make_health, name, key, config, tls, kept, sweeper, names)
        )

    def make() -> FollowedService:
        discovery = make_discovery(name, config, gateway.plugins)
        pools = Pools(name, config, identity, tls, kept, sweeper, names)
        return FollowedService(name, config, discovery, pools, sweeper.clock, health)

    return gateway.keep(("service", name, _digest(config) + files), make)


def _make_health(
    name: str,
    key: str,
    config: ServiceConfig,
    tls: ClientTls,
    kept: KeptState,
    sweeper: Sweeper,
    names: Names,
) -> Health:
    outliers = None if config.outlier is None else Outliers(config.outlier)
    checks = None
    if config.health is not None:
        checks = Checks(key, config.health, tls, config.tls.server_name, kept.board, names)
    return Health(name, outliers, checks, sweeper, kept.events)


def _digest(config: ServiceConfig, settings: set[str] | None = None) -> str:
    """Return what is equal for equal settings; a digest, as settings may hold secrets."""
    values = config.model_dump(mode="json", include=settings)
    text = orjson.dumps(values, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()


def make_discovery(name: str, config: ServiceConfig, plugins: Plugins) -> Discovery:
    """Make the discovery of service ``name`` with its settings, which stand among the service's.

    Raises:
        ConfigError: there is no such discovery, its settings cannot be used, or it fails.

    """
    place = f"services.{name}"
    try:
        plugin = plugins.discovery.load(config.discovery)
        return plugin(name, plugin.Config.model_validate(config.model_extra))
    except PluginError as error:
        raise ConfigError(ConfigIssue(str(error), key=f"{place}.discovery")) from error
    except ValidationError as error:
        issues = [
            ConfigIssue(detail["msg"], key=".".join([place, *map(str, detail["loc"])]))
            for detail in error.errors(include_input=False, include_url=False)
        ]
        raise ConfigError(issues) from error
    except Exception as error:
        logger.exception("discovery %s cannot be constructed", config.discovery)
        message = f"discovery {config.discovery!r} cannot be constructed: {error!r}"
        raise ConfigError(ConfigIssue(message, key=f"{place}.discovery")) from error
