"""auth: which method decides, what the client is told, and what the operator."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

import pytest
from pydantic import model_validator

from gatewayd import Exchange, Gateway, GatewayError, Headers, Peer, Principal, Reject
from gatewayd.errors import problem_response
from gatewayd.testing import FakeClock, Recorder, make_exchange, make_gateway, running
from gatewayd_filters.auth import Auth
from gatewayd_filters.auth.refusals import LINES, SECONDS
from tests.support.authentication import AuditList, Token, TokenConfig, plugins_with_methods

if TYPE_CHECKING:
    from collections.abc import Mapping

BOTH: dict[str, Any] = {"methods": ["token", "ticket"]}
ONE: dict[str, Any] = {"methods": ["token"]}


def gateway_with(**arguments: Any) -> Gateway:
    return make_gateway(plugins=plugins_with_methods(), **arguments)


async def refused(auth: Auth, *, target: str = "/", **headers: str) -> Reject:
    """Send what is refused; nothing is forwarded."""
    upstream = Recorder()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    with pytest.raises(Reject) as caught:
        await auth(make_exchange(target=target, headers=fields), upstream)
    assert not upstream.exchanges
    return caught.value


@pytest.mark.parametrize(
    ("headers", "who"),
    [
        ({"X-Token": "good-a"}, "good-a"),
        ({"X-Ticket": "good-b"}, "good-b"),
        ({"X-Token": "good-a", "X-Ticket": "good-b"}, "good-a"),
        ({"X-Token": "good-a", "X-Ticket": "bad"}, "good-a"),
        ({"X-Token": "good-remembered"}, "good-remembered"),
    ],
)
async def test_the_first_method_with_a_credential_decides(
    headers: Mapping[str, str], who: str
) -> None:
    upstream = Recorder()
    async with running(Auth, BOTH, gateway=gateway_with()) as auth:
        await auth(make_exchange(headers=headers), upstream)
    assert upstream.exchanges[-1].principal.id == who
    assert upstream.request.headers.get("X-User-Id") == who


async def test_a_wrong_credential_refuses_whatever_else_is_there() -> None:
    async with running(Auth, BOTH, gateway=gateway_with()) as auth:
        assert (await refused(auth, X_Token="bad", X_Ticket="good-b")).status == 401


@pytest.mark.parametrize(
    ("order", "who"), [(["token", "ticket"], "good-a"), (["ticket", "token"], "good-b")]
)
async def test_the_order_is_the_configured_one(order: list[str], who: str) -> None:
    upstream = Recorder()
    headers = {"X-Token": "good-a", "X-Ticket": "good-b"}
    async with running(Auth, {"methods": order}, gateway=gateway_with()) as auth:
        await auth(make_exchange(headers=headers), upstream)
    assert upstream.exchanges[-1].principal.id == who


async def test_credentials_that_decide_nothing_go_nowhere_either() -> None:
    upstream = Recorder()
    async with running(Auth, BOTH, gateway=gateway_with()) as auth:
        await auth(make_exchange(headers={"X-Token": "good-a", "X-Ticket": "good-b"}), upstream)
    assert not {"X-Token", "X-Ticket"} & {name for name, _ in upstream.request.headers}


@pytest.mark.parametrize(
    ("settings", "passes", "says"),
    [({}, False, None), ({"required": True}, False, True), ({"required": False}, True, False)],
)
async def test_anonymous_callers_pass_only_where_that_is_said(
    settings: dict[str, Any], passes: bool, says: bool | None
) -> None:
    upstream = Recorder()
    exchange = make_exchange()
    async with running(Auth, ONE | settings, gateway=gateway_with()) as auth:
        if passes:
            await auth(exchange, upstream)
        else:
            assert (await refused(auth)).code == "authentication_required"
    if passes:
        assert upstream.exchanges[-1].principal is None
        assert upstream.exchanges[-1].auth_required is says


@pytest.mark.parametrize("required", [True, False])
async def test_what_the_route_says_is_passed_on(required: bool) -> None:
    upstream = Recorder()
    async with running(Auth, ONE | {"required": required}, gateway=gateway_with()) as auth:
        await auth(make_exchange(headers={"X-Token": "good-a"}), upstream)
    assert upstream.exchanges[-1].auth_required is required


async def test_an_open_route_refuses_a_wrong_credential() -> None:
    async with running(Auth, ONE | {"required": False}, gateway=gateway_with()) as auth:
        assert (await refused(auth, X_Token="bad")).code == "invalid_credential"


async def test_a_preflight_passes_wherever_cors_stands() -> None:
    upstream = Recorder()
    async with running(Auth, ONE, gateway=gateway_with()) as auth:
        await auth(make_exchange("OPTIONS", values={"preflight": True}), upstream)
    assert upstream.exchanges


async def test_a_challenge_of_each_method_is_sent() -> None:
    async with running(Auth, BOTH | {"realm": "shop"}, gateway=gateway_with()) as auth:
        reject = await refused(auth)
    assert reject.headers == [
        ("WWW-Authenticate", 'Token realm="shop"'),
        ("WWW-Authenticate", 'Ticket realm="shop"'),
    ]


async def test_an_error_is_told_only_where_a_credential_was_shown_and_only_to_its_scheme() -> None:
    async with running(Auth, BOTH, gateway=gateway_with()) as auth:
        reject = await refused(auth, X_Ticket="bad")
    assert reject.headers == [
        ("WWW-Authenticate", 'Token realm="gatewayd"'),
        ("WWW-Authenticate", 'Ticket realm="gatewayd", error="invalid_token"'),
    ]


async def test_all_reasons_look_the_same() -> None:
    answers = set()
    async with running(Auth, ONE, gateway=gateway_with()) as auth:
        for reason in ("expired", "bad_signature", "unknown_key", "wrong_secret", "malformed"):
            response = problem_response(await refused(auth, X_Token=reason), "an id")
            assert isinstance(response.body, bytes)
            answers.add((response.status, tuple(response.headers), response.body))
    assert len(answers) == 1


@pytest.mark.parametrize("settings", [{}, {"required": False}])
async def test_what_cannot_be_judged_is_503(settings: dict[str, Any]) -> None:
    async with running(Auth, ONE | settings, gateway=gateway_with()) as auth:
        reject = await refused(auth, X_Token="away")
    assert (reject.status, reject.code) == (503, "authentication_unavailable")
    assert [name for name, _ in reject.headers] == ["Retry-After"]
    assert "away" not in reject.detail


async def test_failures_are_audited_with_their_reason_and_no_secret() -> None:
    audit = AuditList()
    peer = Peer("203.0.113.9")
    async with running(Auth, ONE, gateway=gateway_with(audit=audit)) as auth:
        exchange = make_exchange("POST", "/a?b=c", headers={"X-Token": "expired"}, peer=peer)
        with pytest.raises(Reject):
            await auth(exchange, Recorder())
    (event,) = audit.events
    assert (event.action, event.outcome, event.reason) == ("authentication", "failure", "expired")
    assert (event.actor, event.client, event.path) == ("somebody", "203.0.113.9", "/a")
    assert (event.method, event.request_id) == ("POST", exchange.id)


async def test_everything_is_counted() -> None:
    gateway = gateway_with()
    async with running(Auth, BOTH | {"required": True}, gateway=gateway) as auth:
        await auth(make_exchange(headers={"X-Token": "good-a"}), Recorder())
        await auth(make_exchange(headers={"X-Ticket": "good-remembered"}), Recorder())
        await refused(auth, X_Token="expired")
        await refused(auth, X_Token="away")
        await refused(auth)
    cells = gateway.metrics.counter("gatewayd_authentications", "", ("method", "result")).cells()
    assert {labels: cell.value for labels, cell in cells.items()} == {
        ("token", "accepted"): 1,
        ("ticket", "accepted"): 1,
        ("token", "expired"): 1,
        ("token", "unavailable"): 1,
        ("none", "missing"): 1,
    }


async def test_log_lines_are_bounded_and_what_is_left_out_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    caplog.set_level(logging.WARNING, "gatewayd.filters.auth")
    async with running(Auth, ONE, gateway=gateway_with(clock=clock)) as auth:
        for _ in range(LINES + 5):
            await refused(auth, X_Token="expired")
        assert len(caplog.records) == LINES
        clock.advance(SECONDS)
        await refused(auth, X_Token="expired")
    assert caplog.records[LINES].getMessage() == "5 refusals were not logged"


async def test_the_upstream_is_not_told_where_that_is_not_wanted() -> None:
    upstream = Recorder()
    async with running(Auth, ONE | {"forward_headers": False}, gateway=gateway_with()) as auth:
        await auth(make_exchange(headers={"X-Token": "good-a"}), upstream)
    assert upstream.request.headers == Headers.of_lines([(b"Host", b"gateway.example")])


async def test_a_route_may_accept_some_of_the_methods_only() -> None:
    upstream = Recorder()
    async with running(Auth, BOTH | {"accept": ["ticket"]}, gateway=gateway_with()) as auth:
        reject = await refused(auth, X_Token="good-a")
        assert reject.headers == [("WWW-Authenticate", 'Ticket realm="gatewayd"')]
        await auth(make_exchange(headers={"X-Ticket": "good-a", "X-Token": "b"}), upstream)
    assert "X-Token" not in upstream.request.headers  # which is not for the upstream either


async def test_the_query_is_asked_only_where_it_may_be() -> None:
    async with running(Auth, ONE, gateway=gateway_with()) as auth:
        assert (await refused(auth, target="/?token=good-a")).code == "authentication_required"
    upstream = Recorder()
    async with running(Auth, ONE | {"allow_query": True}, gateway=gateway_with()) as auth:
        await auth(make_exchange(target="/?token=good-a"), upstream)
        ambiguous = await refused(auth, target="/?token=good-a", X_Token="good-a")
    assert upstream.exchanges[-1].principal.id == "good-a"
    assert ambiguous.code == "invalid_credential"


async def test_a_credential_in_the_query_that_a_route_does_not_accept_goes_nowhere() -> None:
    upstream = Recorder()
    settings = BOTH | {"accept": ["ticket"], "allow_query": True}
    async with running(Auth, settings, gateway=gateway_with()) as auth:
        await auth(make_exchange(target="/?token=good-a", headers={"X-Ticket": "good-b"}), upstream)
    assert upstream.request.query is None


async def test_filters_of_one_generation_share_their_methods() -> None:
    gateway = gateway_with()
    first = Auth(Auth.Config.model_validate(BOTH | {"required": True}), gateway)
    second = Auth(Auth.Config.model_validate(BOTH | {"required": False}), gateway)
    other = {"plugins": {"token": {"prefix": "other"}}}
    third = Auth(Auth.Config.model_validate(BOTH | other), gateway)
    methods = [{source[0] for source in auth._sources} for auth in (first, second, third)]
    assert methods[0] == methods[1]
    assert len(methods[0] & methods[2]) == 1
    for auth in (first, second, third):
        await auth.start()
    everything = set.union(*methods)
    assert {getattr(method, "running", None) for method in everything} == {1}
    assert await gateway.close() == []
    assert {getattr(method, "running", None) for method in everything} == {0}


class Forgetting(Token):
    """A method that forgets to say what it has found."""

    async def verify(self, credential: bytes, exchange: Exchange) -> Principal:
        return None  # type: ignore[return-value]


@pytest.mark.parametrize("forwards", [True, False])
async def test_a_method_that_verifies_nobody_lets_nobody_in(forwards: bool) -> None:
    upstream = Recorder()
    gateway = make_gateway(plugins=plugins_with_methods(Forgetting))
    async with running(Auth, ONE | {"forward_headers": forwards}, gateway=gateway) as auth:
        with pytest.raises(TypeError, match=r"<authentication token> verified .* returned None"):
            await auth(make_exchange(headers={"X-Token": "good-a"}), upstream)
    assert not upstream.exchanges


class Unmade(Token):
    """A method that cannot be constructed."""

    def __init__(self, config: TokenConfig, gateway: Any) -> None:
        raise OSError("no file")


class Unstarted(Token):
    """A method that does not start."""

    async def start(self) -> None:
        raise OSError("no file")


class Unreadable(Token):
    """A method with a validator that raises something else than it should."""

    class Config(TokenConfig):
        """Settings."""

        @model_validator(mode="after")
        def _check(self) -> Self:
            raise KeyError(self.prefix)


@pytest.mark.parametrize(
    ("method", "says"),
    [
        (Unmade, "authentication method 'token' cannot be constructed: OSError"),
        (Unstarted, "authentication method 'token' failed to start: OSError"),
        (Unreadable, "plugins.token: a validator raised KeyError, not ValueError"),
    ],
)
async def test_a_method_that_cannot_be_used_is_named(method: type[Token], says: str) -> None:
    gateway = make_gateway(plugins=plugins_with_methods(method))
    with pytest.raises(GatewayError, match=says):
        async with running(Auth, ONE, gateway=gateway):
            pass
