"""The exchange: one request and its response on their way through the gateway.

A filter reads and changes ``exchange.request`` before it forwards, and the :class:`Response` that
comes back after it. What filters tell each other travels on the exchange: as attributes (the
matched route, the caller, the chosen instance) or under typed keys. Filters declare both, so that
the pipeline can check at start that whatever a filter needs is provided before it.
"""

from __future__ import annotations

import itertools
import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, get_args, overload

from msgspec import Struct, field

from gatewayd.body import Body, StreamBody
from gatewayd.headers import Headers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatewayd.errors import Reject
    from gatewayd.observation import Observation
    from gatewayd.principal import Principal
    from gatewayd.routing.route import Route
    from gatewayd.services.instance import Instance
    from gatewayd.services.service import Service
    from gatewayd.telemetry.tracing import Trace

T = TypeVar("T")
D = TypeVar("D")


class Key(Generic[T]):
    """A typed name under which filters leave a value on the exchange for later filters.

    Two keys are the same only if they are the same object: a plugin's ``Key("user")`` does not
    collide with another plugin's.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Key({self.name!r})"


Attribute: TypeAlias = Literal[
    "route", "params", "service", "instance", "principal", "trace",
    "auth_required", "preflight", "tried", "try_timeout",
]  # fmt: skip
"""What filters of the gateway itself tell each other: attributes of the exchange, as nearly every
filter asks for some of them, and a key takes 0.1 us more. ``requires`` and ``provides`` of a filter
name them."""

Context: TypeAlias = "Key[Any] | Attribute"
"""Something that filters tell each other."""

_NO_PARAMS: Mapping[str, str] = MappingProxyType({})


def name_of(context: Context) -> str:
    """Return the name of an attribute or key."""
    return context if isinstance(context, str) else context.name


class Peer:
    """The two ends of the client's connection, and what trusted proxies said of the client.

    Attributes:
        address: The client's IP address: the socket's, or the one that a trusted proxy reported.
        port: The client's port, 0 where a proxy reported the address.
        scheme: ``http`` or ``https``, as the client used it.
        trusted: Whether the socket's own address is in ``server.trusted_proxies``.
        socket_address: The address at the other end of the socket.
        certificate: The verified client certificate as ``ssl`` describes it, if there is one.

    """

    __slots__ = ("address", "certificate", "port", "scheme", "socket_address", "trusted")

    def __init__(
        self,
        address: str,
        port: int = 0,
        scheme: str = "http",
        *,
        trusted: bool = False,
        socket_address: str | None = None,
        certificate: Mapping[str, Any] | None = None,
    ) -> None:
        self.address = address
        self.port = port
        self.scheme = scheme
        self.trusted = trusted
        self.socket_address = address if socket_address is None else socket_address
        self.certificate = certificate

    def __repr__(self) -> str:
        return f"Peer({self.scheme}://{self.address}:{self.port})"


_NOBODY = Peer("0.0.0.0")  # noqa: S104  # the unspecified address: of requests that came from no socket


class Request(Struct, eq=False):
    """The request as filters see it, and as it goes upstream.

    A struct, as a response is: one is made for every exchange, in half the time.

    Attributes:
        method: Upper-case method token.
        path: Normalised path, still percent-encoded: what routes are matched on and what goes
            upstream. A rewrite replaces it.
        query: What followed ``?``, without it; ``None`` where there was no ``?``.
        host: Host without port, lower case; ``""`` where an HTTP/1.0 client sent none.
        authority: Host with port, as the client sent it.
        headers: Header fields without those that end at this hop.
        body: ``bytes`` where all of it has arrived with the head, else a stream.
        version: ``(1, 0)`` or ``(1, 1)``.
        target: The request target as received, for logs; empty where it came from no client.
        upgrade: The protocol that the client asks to switch to, lower case, or ``None``.
        expects_continue: The client waits for ``100 Continue`` before it sends the body. It is
            sent when the body is first read.

    """

    method: str
    path: str
    query: str | None = None
    host: str = ""
    authority: str = ""
    headers: Headers = field(default_factory=Headers)
    body: bytes | Body = b""
    peer: Peer = _NOBODY
    version: tuple[int, int] = (1, 1)
    target: str = ""
    upgrade: str | None = None
    expects_continue: bool = False

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path}>"


class Response(Struct, eq=False):
    """The response on its way back to the client.

    Framing (Content-Length, Transfer-Encoding, Connection) is the server's: it follows from the
    body, so a filter that replaces the body has nothing else to correct.

    Attributes:
        status: Final status code, 200 to 599; 101 where ``tunnel`` is set.
        headers: Header fields without those that end at this hop.
        body: ``bytes`` where all of it is here, else a stream.
        tunnel: After ``101 Switching Protocols``: carries bytes both ways until both ends are
            done. The server runs it once the head has been written.

    """

    status: int
    headers: Headers = field(default_factory=Headers)
    body: bytes | Body = b""
    tunnel: Any = None

    async def discard(self) -> None:
        """Drop a response that will not be sent, so that its connection is released."""
        if self.tunnel is not None:
            self.tunnel.close()
        if isinstance(self.body, Body):  # what a filter has put there may be anything
            await self.body.aclose()

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


# Unique among nodes and restarts (64 random bits) and cheap per request (a counter), as nginx's
# $request_id and Envoy's are not: those draw randomness each time.
_ID_PREFIX = os.urandom(8).hex()
_id_blocks = itertools.count()
_ID_SUFFIXES = [f"{number:02x}" for number in reversed(range(256))]  # the last one is given first

_new_ids: list[str] = []


def new_request_id() -> str:
    """Return a new request id of 24 hexadecimal digits, unique among nodes and restarts.

    The first 16 are those of the process. Many ids are made at once, in half of the time.
    """
    try:
        return _new_ids.pop()
    except IndexError:  # not asked before, as several threads may take the last ones
        block = f"{_ID_PREFIX}{next(_id_blocks):06x}"
        _new_ids.extend([block + suffix for suffix in _ID_SUFFIXES])
        return new_request_id()


def drop_interim(status: int, headers: Headers) -> None:
    """Send nothing: HTTP/1.0 has no 1xx responses."""


class Exchange(Struct, eq=False):
    """One request on its way through the pipeline, and all that is known about it.

    What the gateway's own filters find out are attributes. What other filters tell each other has
    keys: ``exchange[KEY]`` reads and sets it, ``exchange.get(KEY)`` reads what may be absent.
    ``request`` is the request; the response is what ``forward`` returns.

    Attributes:
        request: The request.
        received_at: When the head was complete, in seconds of the gateway's monotonic clock.
        id: Request id, for logs, problem documents and ``X-Request-Id``.
        send_interim: Passes a 1xx response (RFC 9110 section 15.2) to the client, if it speaks
            HTTP/1.1; is called with status and fields.
        route: The matched route; set by ``route_match``, ``None`` before.
        params: Path parameters of the matched route, decoded; set by ``route_match``, empty before.
        service: The service that the request goes to; set by ``route_match``, ``None`` before and
            where the route redirects.
        instance: The instance that this attempt goes to; set by ``balancer``, ``None`` before.
        principal: Who the caller is; set by ``auth`` where a credential was verified. ``None`` for
            anonymous callers, who come only as far as routes that are open to everybody.
        trace: Its place in a trace; set by ``tracing``, ``None`` without.
        auth_required: What the route itself says of authentication; set by ``auth``. ``True``: any
            authenticated caller may use it; ``False``: everybody may; ``None`` where the route says
            nothing.
        preflight: Whether it is a CORS preflight that ``route_match`` has matched by the method
            that it asks about. It runs only as far as the filter that answers preflights, and never
            reaches an upstream.
        tried: Instances that earlier attempts went to, or that were found unusable; set by
            ``retry`` before another attempt. A balancer picks another one where there is one.
        try_timeout: Seconds that one attempt may take until its response head is there; set by
            ``retry``, ``None`` for no limit.
        deadline: When the whole exchange must have ended, same clock; ``None`` for never.
        callbacks: What :meth:`on_finish` was given, if anything.
        response: What is sent to the client; ``None`` until the filters are done, and where the
            client got none. For who tells of exchanges that have ended.
        refusal: The refusal that became the response, if one did.
        observation: Who sets it has noted what each filter does (:mod:`gatewayd.observation`).
        sent: Bytes of the response's body that were sent, without framing.
        error: What broke the exchange off, if anything did.
        ended_at: When it had ended, on the clock of ``received_at``; 0 before.
        reporters: Who else is told when it has ended; set by the pipeline.
        attempts: How often it was sent to an instance.
        upstream_seconds: Time that the last attempt took until its response head.

    """

    request: Request
    received_at: float
    id: str = field(default_factory=new_request_id)
    send_interim: Callable[[int, Headers], None] = drop_interim
    route: Route | None = None
    params: Mapping[str, str] = _NO_PARAMS
    service: Service | None = None
    instance: Instance | None = None
    principal: Principal | None = None
    trace: Trace | None = None
    auth_required: bool | None = None
    preflight: bool = False
    tried: tuple[Instance, ...] = ()
    try_timeout: float | None = None
    deadline: float | None = None
    callbacks: list[Callable[[Exchange, BaseException | None], None]] | None = None
    response: Response | None = None
    refusal: Reject | None = None
    observation: Observation | None = None
    sent: int = 0
    error: BaseException | None = None
    ended_at: float = 0.0
    reporters: tuple[Callable[[Sequence[Exchange]], None], ...] = ()
    attempts: int = 0
    upstream_seconds: float = 0.0
    _values: dict[Key[Any], Any] = {}

    def __getitem__(self, key: Key[T]) -> T:
        value: T = self._values[key]
        return value

    def __setitem__(self, key: Key[T], value: T) -> None:
        self._values[key] = value

    def __contains__(self, key: Key[Any]) -> bool:
        return key in self._values

    @overload
    def get(self, key: Key[T]) -> T | None: ...
    @overload
    def get(self, key: Key[T], default: D) -> T | D: ...
    def get(self, key: Key[Any], default: Any = None) -> Any:
        """Return what is under ``key``, or ``default`` where no filter has set it."""
        return self._values.get(key, default)

    def take_over(self, other: Exchange) -> None:
        """Set what filters have set on another exchange of the same request."""
        self._values.update(other._values)
        for name in (*get_args(Attribute), "observation"):
            setattr(self, name, getattr(other, name))

    def on_finish(self, callback: Callable[[Exchange, BaseException | None], None]) -> None:
        """Call back when the exchange has ended: the last byte is sent, or it was broken off.

        ``forward`` returns when the response head is there; a streamed body or a tunnel goes on
        after that. Callbacks run in reverse order of registration and must not block. Their second
        argument is what broke the exchange off, or ``None``.
        """
        if self.callbacks is None:
            self.callbacks = []
        self.callbacks.append(callback)

    def release_at_end(self, response: Response) -> None:
        """Release the connection of an instance's response when the exchange has ended.

        For who gets responses from instances: whatever becomes of one, whether a filter raises
        after ``forward`` or the client leaves while it waits for something, nobody else may come
        to read it.
        """
        tunnel, body = response.tunnel, response.body
        if tunnel is not None:
            self.on_finish(lambda _, __: tunnel.close())
        elif isinstance(body, StreamBody):
            self.on_finish(lambda _, __: body.close())

    def finish(self, error: BaseException | None = None) -> list[Exception]:
        """Run the callbacks of :meth:`on_finish`, once; for the server.

        Returns what callbacks raised: one that fails does not keep the others from running.
        """
        failures: list[Exception] = []
        callbacks, self.callbacks = self.callbacks, None
        while callbacks:
            try:
                callbacks.pop()(self, error)
            except Exception as failure:
                failures.append(failure)
        return failures

    def __repr__(self) -> str:
        return f"<Exchange {self.id} {self.request.method} {self.request.path}>"
