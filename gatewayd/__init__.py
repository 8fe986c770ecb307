"""gatewayd: an API gateway whose every feature is a filter class that anybody can replace.

This is the plugin API, complete: what is named in ``__all__`` is stable, everything else is not.
Read :mod:`gatewayd.filter`, :mod:`gatewayd.exchange` and :mod:`gatewayd.pipeline`, in this order.
"""

from gatewayd._version import __version__
from gatewayd.audit import Audit, AuditEvent
from gatewayd.authentication import AuthMethod, AuthUnavailable, InvalidCredential
from gatewayd.body import Body, IterBody, NoBody
from gatewayd.config.types import HeaderName, Network, Seconds, StatusPattern, status_codes
from gatewayd.errors import (
    BadResponse,
    BreakerOpen,
    ConfigError,
    ConfigIssue,
    ConnectFailure,
    ConnectTimeout,
    GatewayError,
    NoInstance,
    PoolExhausted,
    Reject,
    UpstreamError,
    UpstreamReset,
    UpstreamTimeout,
)
from gatewayd.events import Events
from gatewayd.exchange import (
    AUTH_REQUIRED,
    INSTANCE,
    PARAMS,
    PREFLIGHT,
    PRINCIPAL,
    ROUTE,
    SERVICE,
    TRIED,
    TRY_TIMEOUT,
    Exchange,
    Key,
    Peer,
    Request,
    Response,
)
from gatewayd.filter import Filter, FilterConfig, Forward
from gatewayd.gateway import Gateway, Readiness
from gatewayd.headers import Headers
from gatewayd.principal import Principal
from gatewayd.process.mutex import LockStuck, Mutex
from gatewayd.process.shared import SharedPlace, SharedTable
from gatewayd.redis.link import Redis
from gatewayd.resilience.backoff import Backoff
from gatewayd.resilience.breaker import Breaker, BreakerChange
from gatewayd.resilience.breaker_state import BreakerPolicy, BreakerState
from gatewayd.resilience.budget import RetryBudget
from gatewayd.resilience.retry_policy import RetryPolicy
from gatewayd.routing.route import Route
from gatewayd.routing.table import Match, RouteTable
from gatewayd.services.balancer import Balancer, StrategyConfig
from gatewayd.services.discovery import Discovery, DiscoveryConfig, InstanceSpec
from gatewayd.services.health import HealthChange
from gatewayd.services.instance import Instance
from gatewayd.services.service import Service
from gatewayd.store.store import Store
from gatewayd.telemetry.metrics import Cell, Family, Histogram, Metrics
from gatewayd.upstream.connection import Timeouts

__all__ = [
    "AUTH_REQUIRED",
    "INSTANCE",
    "PARAMS",
    "PREFLIGHT",
    "PRINCIPAL",
    "ROUTE",
    "SERVICE",
    "TRIED",
    "TRY_TIMEOUT",
    "Audit",
    "AuditEvent",
    "AuthMethod",
    "AuthUnavailable",
    "Backoff",
    "BadResponse",
    "Balancer",
    "Body",
    "Breaker",
    "BreakerChange",
    "BreakerOpen",
    "BreakerPolicy",
    "BreakerState",
    "Cell",
    "ConfigError",
    "ConfigIssue",
    "ConnectFailure",
    "ConnectTimeout",
    "Discovery",
    "DiscoveryConfig",
    "Events",
    "Exchange",
    "Family",
    "Filter",
    "FilterConfig",
    "Forward",
    "Gateway",
    "GatewayError",
    "HeaderName",
    "Headers",
    "HealthChange",
    "Histogram",
    "Instance",
    "InstanceSpec",
    "InvalidCredential",
    "IterBody",
    "Key",
    "LockStuck",
    "Match",
    "Metrics",
    "Mutex",
    "Network",
    "NoBody",
    "NoInstance",
    "Peer",
    "PoolExhausted",
    "Principal",
    "Readiness",
    "Redis",
    "Reject",
    "Request",
    "Response",
    "RetryBudget",
    "RetryPolicy",
    "Route",
    "RouteTable",
    "Seconds",
    "Service",
    "SharedPlace",
    "SharedTable",
    "StatusPattern",
    "Store",
    "StrategyConfig",
    "Timeouts",
    "UpstreamError",
    "UpstreamReset",
    "UpstreamTimeout",
    "__version__",
    "status_codes",
]
