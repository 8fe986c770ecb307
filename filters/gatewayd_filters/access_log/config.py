"""Settings of the `access_log` filter."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gatewayd import FilterConfig, HeaderName, StatusPattern

SECRET_FIELDS = (
    "Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-API-Key",
)  # fmt: skip
SECRET_PARAMETERS = (
    "access_token", "accesstoken", "api_key", "apikey", "api-key", "auth", "client_secret",
    "clientsecret", "code", "id_token", "idtoken", "jwt", "key", "password", "passwd",
    "refresh_token", "refreshtoken", "secret", "sig", "signature", "token",
)  # fmt: skip


class AccessLogConfig(FilterConfig):
    """Settings of `access_log`: one line for each exchange, when its last byte is sent."""

    format: Literal["json", "text"] = "json"
    """`json`: one object with the names of OpenTelemetry's semantic conventions; `text`: the
    combined format of Apache and nginx, followed by request id, route and seconds."""
    path: str = Field("stdout", min_length=1)
    """A file, which is opened again when it was moved away as logrotate does, or `stdout` or
    `stderr`."""
    sample_ratio: float = Field(1.0, ge=0, le=1)
    """Share of the exchanges that are logged."""
    always: tuple[StatusPattern, ...] = ("4xx", "5xx")
    """Statuses that are logged whatever the ratio."""
    exclude_paths: frozenset[Annotated[str, Field(pattern="^/")]] = frozenset()
    """Paths that are not logged, such as `/health`; refusals and failures are."""
    request_headers: tuple[HeaderName, ...] = ()
    """Fields of the request to log as `http.request.header.NAME`."""
    response_headers: tuple[HeaderName, ...] = ()
    """Fields of the response to log as `http.response.header.NAME`."""
    redact_headers: tuple[HeaderName, ...] = ()
    """Fields whose values are not shown, beside `Authorization`, `Proxy-Authorization`, `Cookie`,
    `Set-Cookie` and `X-API-Key`."""
    redact_query: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Query parameters whose values are not shown, beside the usual names of credentials, such as
    `token`, `api_key`, `accessToken`, `password`, `code`, and what ends in `_token`, `_secret`,
    `_password` or `_signature`, with `-` for `_` as well."""
    queue_size: int = Field(10_000, ge=100, le=1_000_000)
    """Lines that may wait while the destination takes none, for each worker; those beyond are
    dropped and counted."""
    interval: float = Field(0.05, ge=0, le=10, allow_inf_nan=False)
    """Seconds over which lines are gathered into one write. Longer ones save nothing, and make the
    slowest requests slower: the thread that writes needs the processor for longer."""
    close_timeout: float = Field(2.0, ge=0, le=60, allow_inf_nan=False)
    """Seconds at the end for what still waits."""
