"""The admin listener: HTTP around the operations of :mod:`gatewayd.admin.table`.

Who reaches it controls the gateway, so there are three walls. Beyond loopback and Unix sockets it
takes a token or a certificate, over TLS. What a web page in the operator's browser could send is
refused: a request with ``Origin``, or by a host name that is not this machine's (DNS rebinding).
And all is bounded: bodies, requests at once, the time of each, and connections
(:mod:`gatewayd.admin.connections`).
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson
from aiohttp import web
from pydantic import ValidationError

from gatewayd.admin.api import AdminApi
from gatewayd.admin.connections import BoundedSite, refused_connections
from gatewayd.admin.openapi import describe
from gatewayd.admin.table import OPERATIONS
from gatewayd.admin.tls import tls_context
from gatewayd.audit import AuditEvent
from gatewayd.errors import Reject, phrase
from gatewayd.http1.grammar import parse_host
from gatewayd.process.sockets import ListenError
from gatewayd.telemetry.exposition import page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd.admin.settings import AdminConfig
    from gatewayd.admin.table import Operation
    from gatewayd.process.node import Node

    Outcome = Literal["success", "failure", "denied"]
    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY_BYTES = 64 * 1024
MAX_AT_ONCE = 32
"""Requests that run at once; above it: 503."""

HANDLER_SECONDS = 120.0
"""Time for one request, more than any operation waits."""

_BODY_SECONDS = 10.0
_DENIALS_EVERY = 1.0  # seconds between two rows of the audit trail for what was denied
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
logger = logging.getLogger("gatewayd.admin")


class AdminServer:
    """The admin listener of one node.

    Args:
        node: The node.
        config: Its settings. What is not the address may change by reloads.

    Raises:
        ListenError, ConfigError: see :func:`gatewayd.admin.make_admin_server`.

    """

    def __init__(self, node: Node, config: AdminConfig) -> None:
        self._node = node
        self._config = config
        self._api = AdminApi(node)
        self._running = 0
        self._denied_at = 0.0
        self._denied = 0
        self._auditing: set[asyncio.Task[None]] = set()
        self._tls = tls_context(config)
        self._socket = _bind(config)
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_BODY_BYTES)
        app.on_response_prepare.append(_end_if_unknown)
        for one in OPERATIONS:
            app.router.add_route(one.method, one.path, self._handler(one))
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/openapi.json", self._openapi)
        self._site = BoundedSite(
            app,
            self._socket,
            self._tls,
            lambda: self._settings.max_connections,
            refused_connections(node.metrics),
        )

    async def serve(self) -> None:
        """Accept requests until :meth:`close`."""
        await self._site.start()
        logger.info("admin API on %s", self._config.listen)

    def worker_ended(self, number: int, incarnation: int) -> None:
        """Take note of a worker's end: what it had counted stays, its gauges go."""
        self._api.totals.worker_ended(number, incarnation)

    async def close(self) -> None:
        """Stop; requests that run have a second to end."""
        await self._site.close()
        if self._auditing:
            await asyncio.wait(self._auditing)
        self._socket.close()
        if self._config.path is not None:
            _unlink(self._config.path)

    @property
    def _settings(self) -> AdminConfig:
        return self._node.loaded.config.admin or self._config

    # --- the walls ---------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._check(request)
            if self._running >= MAX_AT_ONCE:
                raise Reject(503, "overloaded", "Too many requests run.")  # noqa: TRY301
            self._running += 1
            try:
                async with asyncio.timeout(HANDLER_SECONDS):
                    response = await handler(request)
            finally:
                self._running -= 1
        except Reject as reject:
            response = _problem(reject.status, reject.code, reject.detail, dict(reject.headers))
        except web.HTTPException as error:
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            code = phrase(error.status).lower().replace(" ", "_")
            response = _problem(error.status, code, "", allow)
        except TimeoutError:
            response = _problem(503, "timeout", "It took too long.")
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            response = _problem(500, "internal_error", "It failed; the log says why.")
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def _check(self, request: web.Request) -> None:
        """Let in who may, and note whether it is an operator.

        Args:
            request: The request; its head is enough.

        Raises:
            Reject: 401 without the token, 403 for what a web page may have sent.

        """
        config = self._settings
        if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
            self._deny(request, "from a web page")
            raise Reject(403, "forbidden", "Requests of web pages are refused.")
        if config.path is None and config.is_local and not _names_this_host(request, config):
            self._deny(request, "by another name")
            raise Reject(403, "forbidden", "Use the address of the listener, or localhost.")
        # Without a token in the configuration, the socket or the certificate has told enough.
        request[_KNOWN] = config.token is None or _has_token(request, config.token)
        open_to_all = request.path in _OPEN or (request.path == "/metrics" and config.open_metrics)
        if not (request[_KNOWN] or open_to_all):
            self._deny(request, "wrong token")
            raise Reject(
                401, "unauthorized", "A token is needed.", [("WWW-Authenticate", "Bearer")]
            )

    def _deny(self, request: web.Request, reason: str) -> None:
        """Record what was denied; not every one, as the database must not be filled with it."""
        self._denied += 1
        now = time.monotonic()
        if now - self._denied_at < _DENIALS_EVERY:
            return
        self._denied_at = now
        event = self._event(request, "denied", reason, {"count": self._denied})
        self._denied = 0
        task = asyncio.create_task(self._node.audit(event), name="audit")
        self._auditing.add(task)  # a store that is away may take longer than until the next one
        task.add_done_callback(self._auditing.discard)

    def _event(
        self, request: web.Request, outcome: Outcome, reason: str, detail: dict[str, Any]
    ) -> AuditEvent:
        certificate = request.get_extra_info("peercert") or {}
        names = [value for part in certificate.get("subject", ()) for _, value in part]
        return AuditEvent(
            "admin",
            outcome,
            reason=reason,
            actor="/".join(names),
            method=request.method,
            path=request.path,
            client=request.remote or "",
            detail=detail,
        )

    # --- operations --------------------------------------------------------------------------

    def _handler(self, one: Operation) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            outcome: Outcome = "failure"
            reason = ""
            body = None
            try:
                if one.body is not None:
                    body = await _read(request, one.body)
                result = await one.handler(self._api, body, request.match_info)
                outcome = "success"
            except Reject as reject:
                reason = reject.code
                raise
            finally:
                if one.changes:
                    detail = {} if body is None else body.model_dump()
                    await self._node.audit(self._event(request, outcome, reason, detail))
            ready = one.path != "/ready" or result["status"] == "ready"
            return _json(result, 200 if ready else 503)

        return handle

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        await self._api.refresh()
        content_type, body = await page(self._api.totals, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _openapi(self, _: web.Request) -> web.StreamResponse:
        return _json(describe())


_OPEN = frozenset(one.path for one in OPERATIONS if one.open)
_KNOWN = web.RequestKey("known", bool)  # whether it is an operator's


async def _end_if_unknown(request: web.Request, response: web.StreamResponse) -> None:
    """Make a request that is not known to be an operator's the last one on its connection.

    Otherwise anybody could keep a place for good, by a request within each idle time, and a few
    such clients all places. So it is with the open paths as well: a probe or a scraper without the
    token connects anew for each answer, which costs it little; one that has it may send it.

    Here and not in the middleware, since aiohttp refuses ``Expect`` before it gets there. Heads
    that aiohttp cannot read do not come here; it closes their connections itself.
    """
    if not request.get(_KNOWN, False):
        response.force_close()
        response.headers["Connection"] = "close"  # aiohttp has decided on the field before


def _has_token(request: web.Request, token: str) -> bool:
    # The bytes as they came: aiohttp has made surrogates of those that are no UTF-8.
    sent = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
    return hmac.compare_digest(sent, f"Bearer {token}".encode())


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(value), status=status, headers={"Content-Type": "application/json"}
    )


def _problem(
    status: int, code: str, detail: str, headers: dict[str, str] | None = None
) -> web.Response:
    problem = {
        "type": "about:blank",
        "title": phrase(status),
        "status": status,
        "code": code,
        "detail": detail,
    }
    fields = {"Content-Type": "application/problem+json", **(headers or {})}
    return web.Response(body=orjson.dumps(problem), status=status, headers=fields)


async def _read(request: web.Request, model: type[Any]) -> Any:
    """Read and check a body.

    Raises:
        Reject: it is not what is expected.

    """
    if request.content_type != "application/json":
        raise Reject(415, "unsupported_media_type", "The body must be application/json.")
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            data = await request.read()
    except TimeoutError:
        raise Reject(400, "slow_body", "The body did not come in time.") from None
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        malformed = first["type"] == "json_invalid"
        detail = f"{where}: {first['msg']}" if where else first["msg"]
        raise Reject(400 if malformed else 422, "invalid_body", detail) from None


def _names_this_host(request: web.Request, config: AdminConfig) -> bool:
    parsed = parse_host(request.headers.get("Host", "").encode("utf-8", "replace"))
    return parsed is not None and parsed[0].strip("[]") in _LOCAL_NAMES | {config.address[0]}


def _unlink(path: str) -> None:
    with suppress(OSError):
        Path(path).unlink()


def _bind(config: AdminConfig) -> socket.socket:
    try:
        return _bind_path(config.path) if config.path is not None else _bind_port(config)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ListenError(f"cannot listen on {config.listen} (admin): {reason}") from error


def _bind_port(config: AdminConfig) -> socket.socket:
    host, port = config.address
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


def _bind_path(path: str) -> socket.socket:
    """Bind a Unix socket that only this user may use; one that nobody listens on is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_abandoned(path):
            Path(path).unlink()
        # Set before the file is there: between bind and chmod others could connect.
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_abandoned(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
