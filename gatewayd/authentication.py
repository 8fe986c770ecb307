"""The contract of an authentication method: how one kind of credential becomes a principal.

The filter ``auth`` asks its methods in the configured order. The first one whose kind of credential
the request shows decides: a credential that is shown and wrong refuses the request, whatever else
it carries. Methods are plugins of the group ``gatewayd.authentication``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Generic

from gatewayd.errors import GatewayError
from gatewayd.filter import ConfigT, FilterConfig

if TYPE_CHECKING:
    from gatewayd.exchange import Exchange
    from gatewayd.gateway import Gateway
    from gatewayd.principal import Principal


class InvalidCredential(Exception):  # noqa: N818  # what it is, as with ConnectFailure
    """A credential that is not to be believed.

    Args:
        reason: Why, for the operator's log and audit trail: a stable word such as ``expired``. The
            client learns only that the credential is invalid.
        actor: Who it claims to be, as far as can be told; for the audit trail.

    """

    def __init__(self, reason: str, actor: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.actor = actor


class AuthUnavailable(GatewayError):  # noqa: N818
    """What is needed to judge a credential is away; never the caller's fault.

    Args:
        dependency: What is away: ``jwks``, ``store``, ``redis``.
        cause: What happened, for the log.

    """

    def __init__(self, dependency: str, cause: str) -> None:
        super().__init__(f"{dependency}: {cause}")
        self.dependency = dependency


class AuthMethod(Generic[ConfigT]):
    """One kind of credential.

    Args:
        config: The method's settings.
        gateway: What the host gives to filters.

    The constructor does no I/O; :meth:`start` does, and :meth:`close` undoes it. One instance
    serves all exchanges of a generation, of all routes. What it learns and what should outlive a
    reload belongs into ``gateway.keep``.

    """

    name: ClassVar[str]
    """Entry-point name, and key below ``[filters.auth]``."""

    Config: ClassVar[type[FilterConfig]] = FilterConfig
    """Pydantic model of the settings."""

    challenge: ClassVar[str]
    """Authentication scheme for WWW-Authenticate (RFC 9110 section 11.6.1), such as ``Bearer``."""

    def __init__(self, config: ConfigT, gateway: Gateway) -> None:
        self.config = config
        self.gateway = gateway

    async def start(self) -> None:
        """Open what the method needs. An outage is no reason to fail where the policy says so."""

    async def close(self) -> None:
        """Undo :meth:`start`."""

    def credential(self, exchange: Exchange) -> bytes | None:
        """Return the credential of this kind that the request shows, ``None`` where it has none.

        Takes it out of the request where it must not go upstream. A field that has several values
        makes a credential that is wrong, not one of them.
        """
        raise NotImplementedError

    def query_credential(self, exchange: Exchange) -> bytes | None:  # noqa: ARG002
        """Return the credential of this kind in the query; asked only on routes that allow it.

        Takes it out of ``request.query``, which goes upstream, and ``request.target``, which goes
        into logs. Most kinds of credential have no place there.
        """
        return None

    def remembered(self, credential: bytes) -> Principal | None:
        """Return the principal of a credential that is known to be good right now, at no wait."""
        raise NotImplementedError

    async def verify(self, credential: bytes, exchange: Exchange) -> Principal:
        """Return the principal of a credential that is not remembered.

        Raises:
            InvalidCredential: it is not to be believed.
            AuthUnavailable: it cannot be judged now.

        """
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<authentication {self.name}>"
