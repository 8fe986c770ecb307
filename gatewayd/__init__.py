"""gatewayd: an API gateway whose every feature is a filter class that anybody can replace.

This is the plugin API, complete: what is named in ``__all__`` is stable, everything else is not.
Read :mod:`gatewayd.filter`, :mod:`gatewayd.exchange` and :mod:`gatewayd.pipeline`, in this order.
"""

from gatewayd._version import __version__
from gatewayd.address import Networks, parse_address
from gatewayd.admin.operations import AdminOperations
from gatewayd.audit import Audit, AuditEvent
from gatewayd.authentication import AuthMethod, AuthUnavailable, InvalidCredential
from gatewayd.body import Body, IterBody, NoBody
from gatewayd.config.types import HeaderName, HttpUrl, Network, Seconds, StatusPattern, status_codes
from gatewayd.crypto import (
    PublicKey,
    WeakKey,
    check_strength,
    hash_api_key,
    load_public_key,
    split_api_key,
    verify_api_key,
)
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
    Context,
    Exchange,
    Key,
    Peer,
    Request,
    Response,
)
from gatewayd.filter import Filter, FilterConfig, Forward
from gatewayd.gateway import Gateway
from gatewayd.headers import Headers
from gatewayd.observation import Observation, Visit
from gatewayd.pepper import check_pepper, is_embedded, read_pepper
from gatewayd.principal import Principal
from gatewayd.process.mutex import LockStuck, Mutex
from gatewayd.process.shared import SharedPlace, SharedTable
from gatewayd.readiness import Readiness
from gatewayd.redis.link import Redis, RedisUnavailable
from gatewayd.resilience.backoff import Backoff
from gatewayd.resilience.breaker import Breaker, BreakerChange, BreakerListener
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
from gatewayd.signed_header import check_header, sign_header
from gatewayd.store.errors import StoreError, StoreUnavailable
from gatewayd.store.records import ApiKeyRecord, BreakerTransition, UnreadableApiKey
from gatewayd.store.store import Store
from gatewayd.telemetry.lines import LineWriter, Timestamps, encodable
from gatewayd.telemetry.metrics import SECONDS, Cell, Family, Histogram, Metrics
from gatewayd.telemetry.trace_context import TraceContext, read_trace_context
from gatewayd.telemetry.tracing import (
    Attempt,
    Trace,
    get_span_id,
    get_trace_id,
    new_trace,
)
from gatewayd.tls import tls_client_context
from gatewayd.upstream.attempt import Timeouts

__all__ = [
    "SECONDS",
    "AdminOperations",
    "ApiKeyRecord",
    "Attempt",
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
    "BreakerListener",
    "BreakerOpen",
    "BreakerPolicy",
    "BreakerState",
    "BreakerTransition",
    "Cell",
    "ConfigError",
    "ConfigIssue",
    "ConnectFailure",
    "ConnectTimeout",
    "Context",
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
    "HttpUrl",
    "Instance",
    "InstanceSpec",
    "InvalidCredential",
    "IterBody",
    "Key",
    "LineWriter",
    "LockStuck",
    "Match",
    "Metrics",
    "Mutex",
    "Network",
    "Networks",
    "NoBody",
    "NoInstance",
    "Observation",
    "Peer",
    "PoolExhausted",
    "Principal",
    "PublicKey",
    "Readiness",
    "Redis",
    "RedisUnavailable",
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
    "StoreError",
    "StoreUnavailable",
    "StrategyConfig",
    "Timeouts",
    "Timestamps",
    "Trace",
    "TraceContext",
    "UnreadableApiKey",
    "UpstreamError",
    "UpstreamReset",
    "UpstreamTimeout",
    "Visit",
    "WeakKey",
    "__version__",
    "check_header",
    "check_pepper",
    "check_strength",
    "encodable",
    "get_span_id",
    "get_trace_id",
    "hash_api_key",
    "is_embedded",
    "load_public_key",
    "new_trace",
    "parse_address",
    "read_pepper",
    "read_trace_context",
    "sign_header",
    "split_api_key",
    "status_codes",
    "tls_client_context",
    "verify_api_key",
]
