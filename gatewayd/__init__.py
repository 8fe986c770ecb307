"""gatewayd: an API gateway whose every feature is a filter class that anybody can replace.

This is the plugin API, complete: what is named in ``__all__`` is stable, everything else is not.
Read :mod:`gatewayd.filter`, :mod:`gatewayd.exchange` and :mod:`gatewayd.pipeline`, in this order.
"""

from gatewayd._version import __version__
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
    INSTANCE,
    PARAMS,
    PREFLIGHT,
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
from gatewayd.upstream.connection import Timeouts

__all__ = [
    "INSTANCE",
    "PARAMS",
    "PREFLIGHT",
    "ROUTE",
    "SERVICE",
    "TRIED",
    "TRY_TIMEOUT",
    "Backoff",
    "BadResponse",
    "Balancer",
    "Body",
    "Breaker",
    "BreakerChange",
    "BreakerOpen",
    "BreakerPolicy",
    "BreakerState",
    "ConfigError",
    "ConfigIssue",
    "ConnectFailure",
    "ConnectTimeout",
    "Discovery",
    "DiscoveryConfig",
    "Events",
    "Exchange",
    "Filter",
    "FilterConfig",
    "Forward",
    "Gateway",
    "GatewayError",
    "HeaderName",
    "Headers",
    "HealthChange",
    "Instance",
    "InstanceSpec",
    "IterBody",
    "Key",
    "Match",
    "Network",
    "NoBody",
    "NoInstance",
    "Peer",
    "PoolExhausted",
    "Readiness",
    "Reject",
    "Request",
    "Response",
    "RetryBudget",
    "RetryPolicy",
    "Route",
    "RouteTable",
    "Seconds",
    "Service",
    "StatusPattern",
    "StrategyConfig",
    "Timeouts",
    "UpstreamError",
    "UpstreamReset",
    "UpstreamTimeout",
    "__version__",
    "status_codes",
]
