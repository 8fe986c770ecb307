"""The table of the admin API's operations, of which listener and OpenAPI are made.

What each of them does is in :mod:`gatewayd.admin.api`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatewayd.admin import api, models
from gatewayd.admin.api import AdminApi

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayd.config.model import Model

Handler = Callable[[AdminApi, Any, "Mapping[str, str]"], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the API.

    Attributes:
        method, path: As OpenAPI writes them.
        summary: What it does, in one sentence.
        handler: Does it; gets the API, the checked body, and the parameters of the path.
        result: What it gives; a list of that where ``many``.
        body: What it takes, if anything.
        many: Whether it gives a list.
        open: Whether it needs no token.

    """

    method: str
    path: str
    summary: str
    handler: Handler
    result: type[Model]
    body: type[Model] | None = None
    many: bool = False
    open: bool = False

    @property
    def changes(self) -> bool:
        """Whether it changes something."""
        return self.method != "GET" and not self.path.startswith(
            ("/v1/explain", "/v1/buckets/peek")
        )


OPERATIONS: Sequence[Operation] = (
    Operation("GET", "/health", "That the process answers.", api.health, models.Health, open=True),
    Operation(
        "GET", "/ready", "Whether some worker is ready; 503 where none is.", api.ready,
        models.Readiness, open=True,
    ),
    Operation("GET", "/v1/status", "What runs.", api.status, models.Status),
    Operation("GET", "/v1/routes", "The routes.", api.routes, models.Route, many=True),
    Operation("GET", "/v1/routes/{name}", "One route.", api.route, models.Route),
    Operation(
        "GET", "/v1/services", "The services, with the health of their instances.", api.services,
        models.Service, many=True,
    ),
    Operation("GET", "/v1/services/{name}", "One service.", api.service, models.Service),
    Operation(
        "GET", "/v1/traffic", "What routes and services have had.", api.traffic, models.Traffic
    ),
    Operation("GET", "/v1/breakers", "The breakers.", api.breakers, models.Breaker, many=True),
    Operation(
        "POST", "/v1/breakers/reset", "Close breakers.", api.reset_breakers, models.Count,
        models.BreakerSelection,
    ),
    Operation(
        "POST", "/v1/buckets/peek", "What buckets hold.", api.peek_buckets, models.Bucket,
        models.BucketSelection, many=True,
    ),
    Operation(
        "POST", "/v1/buckets/reset", "Fill buckets.", api.reset_buckets, models.Count,
        models.BucketSelection,
    ),
    Operation(
        "POST", "/v1/operations/{name}", "What a filter in use offers to operators.", api.operate,
        models.OperationAnswer, models.OperationCall, many=True,
    ),
    Operation(
        "POST", "/v1/reload", "Load the configuration again; 422 where it is refused.", api.reload,
        models.Reloaded,
    ),
    Operation(
        "PUT", "/v1/log-level", "Change the level of a logger.", api.log_level,
        models.LogLevelChange, models.LogLevelChange,
    ),
    Operation(
        "PUT", "/v1/drain", "Take the node out of service, or put it back.", api.drain,
        models.Drain, models.Drain,
    ),
    Operation(
        "POST", "/v1/explain", "What becomes of a request.", api.explain, models.Explanation,
        models.DescribedRequest,
    ),
    Operation(
        "GET", "/v1/explain/{id}", "What became of an exchange that was explained.", api.explained,
        models.Explanation,
    ),
)  # fmt: skip
"""Every operation; ``/metrics`` and ``/openapi.json`` are beside them."""
