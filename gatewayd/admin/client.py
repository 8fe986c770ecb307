"""A client of the admin API, for the commands of the command line."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import TYPE_CHECKING, Any

import orjson

from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from gatewayd.admin.settings import AdminConfig
    from gatewayd.config.schema import GatewayConfig

_SECONDS = 130.0  # longer than the server takes for anything
_MAX_ANSWER_BYTES = 64 << 20


class AdminError(GatewayError):
    """The admin API cannot be reached, or refuses; says why."""


class AdminClient:
    """Asks the admin API that a configuration describes.

    Args:
        config: The configuration.

    Raises:
        AdminError: it has no admin API.

    """

    def __init__(self, config: GatewayConfig) -> None:
        if config.admin is None:
            raise AdminError("the configuration has no [admin] table, so there is no admin API")
        self._config = config.admin

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request; return the JSON of its answer.

        Raises:
            AdminError: nobody answers, or it is refused.

        """
        headers = {}
        if self._config.token is not None:
            headers["Authorization"] = f"Bearer {self._config.token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = _connection(self._config)
        try:
            data = None if body is None else orjson.dumps(body)
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            answer = response.read(_MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or error
            raise AdminError(f"no gateway answers on {self._config.listen}: {reason}") from error
        finally:
            connection.close()
        return _read(response.status, answer)


def _read(status: int, answer: bytes) -> Any:
    try:
        value = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise AdminError(f"what answers is no gateway: status {status}") from error
    if status == 401:
        raise AdminError(
            "the gateway does not know the token of this configuration; one that was changed there "
            "counts from a reload on, which SIGHUP brings about without it"
        )
    if status >= 400 and isinstance(value, dict) and "code" in value:
        raise AdminError(str(value.get("detail") or value["code"]))
    return value


def _connection(config: AdminConfig) -> http.client.HTTPConnection:
    if config.path is not None:
        return _UnixConnection(config.path)
    host, port = config.address
    if host in ("0.0.0.0", "::"):  # noqa: S104  # listens everywhere; we ask here
        host = "localhost"
    if config.tls is None:
        return http.client.HTTPConnection(host, port, timeout=_SECONDS)
    # The server's own certificate is the one that is trusted, whoever signed it.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(config.tls.certificate)
        if config.tls.client_certificate is not None:
            context.load_cert_chain(
                config.tls.client_certificate, config.tls.client_key, password=""
            )
    except (OSError, ssl.SSLError) as error:
        raise AdminError(f"the certificate cannot be loaded: {error}") from error
    return http.client.HTTPSConnection(host, port, timeout=_SECONDS, context=context)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
