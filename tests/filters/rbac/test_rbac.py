"""rbac: who may use a route, which rule says so, and what becomes of those who may not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gatewayd import Audit, AuditEvent, ConfigError, Principal, Reject
from gatewayd.testing import Recorder, in_memory, make_exchange, make_gateway, running
from gatewayd_filters.rbac import Rbac, RbacConfig
from gatewayd_filters.rbac.requirement import Decision
from gatewayd_filters.rbac.roles import satisfying

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLES: dict[str, Any] = {
    "viewer": ["projects:read", "servers:read"],
    "operator": {"inherits": ["viewer"], "permissions": ["servers:*"]},
    "chief": {"inherits": ["operator"]},
    "auditor": ["*:read"],
    "admin": ["*"],
    "nobody": [],
}


class KeptAudit(Audit):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)


def caller(
    *roles: str, permissions: tuple[str, ...] = (), scopes: tuple[str, ...] = ()
) -> Principal:
    return Principal(
        id="ada", method="jwt", roles=frozenset(roles), permissions=frozenset(permissions),
        scopes=frozenset(scopes),
    )  # fmt: skip


def filter_of(**settings: Any) -> Rbac:
    config = RbacConfig.model_validate({"roles": ROLES, **settings})
    return Rbac(config, make_gateway())


def decide(principal: Principal | None, **settings: Any) -> tuple[bool, str]:
    decision = filter_of(**settings).decide(principal, None)
    return decision.allowed, decision.rule


@pytest.mark.parametrize(
    ("roles", "required", "allowed", "rule"),
    [
        (["admin"], ["admin"], True, "role admin"),
        (["viewer"], ["admin"], False, "none of the roles admin"),
        (["viewer"], ["operator", "viewer"], True, "role viewer"),
        (["operator"], ["viewer"], True, "role operator -> viewer"),
        (["chief"], ["viewer"], True, "role chief -> operator -> viewer"),
        (["viewer"], ["operator"], False, "none of the roles operator"),
        (["foreign"], ["foreign"], True, "role foreign"),
        ([], ["viewer"], False, "none of the roles viewer"),
        (["admin"], ["viewer"], False, "none of the roles viewer"),  # everything is no role
        (["chief"], {"all": ["viewer", "operator"]}, True,
         "role chief -> operator, role chief -> operator -> viewer"),
        (["viewer"], {"all": ["viewer", "operator"]}, False, "not the role operator"),
        (["viewer"], {"any": ["viewer", "operator"]}, True, "role viewer"),
        (["viewer"], {"any": ["viewer"]}, True, "role viewer"),
        (["viewer"], {"all": ["viewer"]}, True, "role viewer"),
    ],
)  # fmt: skip
def test_roles(roles: list[str], required: Any, allowed: bool, rule: str) -> None:
    assert decide(caller(*roles), required_roles=required) == (allowed, rule)


@pytest.mark.parametrize(
    ("roles", "required", "allowed", "rule"),
    [
        (["viewer"], ["servers:read"], True, "servers:read by servers:read of role viewer"),
        (["viewer"], ["servers:write"], False, "not the permission servers:write"),
        (["operator"], ["servers:write"], True, "servers:write by servers:* of role operator"),
        (["chief"], ["servers:read"], True,
         "servers:read by servers:* of role chief -> operator"),
        (["auditor"], ["anything:read"], True, "anything:read by *:read of role auditor"),
        (["auditor"], ["anything:write"], False, "not the permission anything:write"),
        (["admin"], ["anything:at:all"], True, "anything:at:all by * of role admin"),
        (["operator"], ["servers:disks:read"], True,
         "servers:disks:read by servers:* of role operator"),
        (["auditor"], ["servers:disks:read"], False, "not the permission servers:disks:read"),
        (["foreign"], ["servers:read"], False, "not the permission servers:read"),
        (["viewer"], ["projects:read", "servers:write"], False, "not the permission servers:write"),
        (["viewer"], {"any": ["projects:write", "servers:read"]}, True,
         "servers:read by servers:read of role viewer"),
        (["viewer"], {"any": ["a:b", "c:d"]}, False, "none of the permissions a:b, c:d"),
        (["viewer"], {"any": ["a:b"]}, False, "none of the permissions a:b"),
        (["viewer"], {"all": ["servers:read"]}, True,
         "servers:read by servers:read of role viewer"),
        (["viewer"], {"all": ["servers:read", "servers:write"]}, False,
         "not the permission servers:write"),
    ],
)  # fmt: skip
def test_permissions(roles: list[str], required: Any, allowed: bool, rule: str) -> None:
    assert decide(caller(*roles), required_permissions=required) == (allowed, rule)


def test_permissions_of_the_callers_own() -> None:
    decision = decide(caller(permissions=("servers:*",)), required_permissions=["servers:read"])
    assert decision == (True, "servers:read of the caller's own")


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [({"scopes_are_permissions": True}, True), ({"scopes_are_permissions": False}, False),
     ({}, False)],
)  # fmt: skip
def test_scopes_are_permissions_where_they_are_said_to_be(
    settings: dict[str, bool], allowed: bool
) -> None:
    principal = caller(scopes=("servers:read",))
    decision = decide(principal, required_permissions=["servers:read"], **settings)
    assert decision[0] is allowed


@pytest.mark.parametrize("field", ["required_roles", "required_permissions"])
@pytest.mark.parametrize("asked", [[], {"any": []}, {"all": []}], ids=str)
def test_what_asks_for_nothing_is_refused(field: str, asked: Any) -> None:
    with pytest.raises(ValueError, match="at least 1 item"):
        RbacConfig.model_validate({field: asked})


@pytest.mark.parametrize(("roles", "allowed"), [(["operator"], True), (["viewer"], False)])
def test_where_both_are_asked_for_both_must_hold(roles: list[str], allowed: bool) -> None:
    settings = {"required_roles": ["viewer"], "required_permissions": ["servers:write"]}
    assert decide(caller(*roles), **settings)[0] is allowed


@pytest.mark.parametrize(
    ("default", "auth_required", "principal", "allowed"),
    [
        ("deny", None, caller("admin"), False),
        ("allow", None, caller(), True),
        ("deny", True, caller(), True),
        ("deny", True, None, False),
        ("deny", False, None, True),
        ("deny", None, None, False),
    ],
)
def test_routes_that_ask_for_nothing(
    default: str, auth_required: bool | None, principal: Principal | None, allowed: bool
) -> None:
    assert filter_of(default=default).decide(principal, auth_required).allowed is allowed


def test_who_is_not_known_has_no_role() -> None:
    decision = filter_of(required_roles=["viewer"], default="allow").decide(None, False)
    assert decision == Decision(False, "not authenticated")


@pytest.mark.parametrize(
    ("roles", "text"),
    [
        ({"a": {"inherits": ["a"]}}, "a -> a"),
        ({"a": {"inherits": ["b"]}, "b": {"inherits": ["a"]}}, "a -> b -> a"),
    ],
)
def test_roles_do_not_inherit_each_other(roles: Mapping[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Rbac(RbacConfig.model_validate({"roles": roles}), make_gateway())


def test_a_long_line_of_roles_is_a_mistake() -> None:
    roles: dict[str, Any] = {f"r{n}": {"inherits": [f"r{n + 1}"]} for n in range(40)} | {"r40": []}
    with pytest.raises(ConfigError, match="inherit each other"):
        Rbac(RbacConfig.model_validate({"roles": roles}), make_gateway())


@pytest.mark.parametrize(
    "settings",
    [
        {"roles": {"a": {"inherits": ["b"]}}},
        {"roles": {"a": ["servers read"]}},
        {"roles": {"a": ["servers:"]}},
        {"roles": {"a": ["serv*:read"]}},
        {"roles": {"a": "servers:read"}},
        {"roles": {"a": {"permission": []}}},
        {"required_roles": []},
        {"required_roles": {"any": []}},
        {"required_permissions": ["servers:*"]},
        {"required_permissions": {"all": ["a:b"], "any": ["c:d"]}},
        {"default": "ask"},
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RbacConfig.model_validate(settings)


async def test_a_denial_says_nothing_of_the_reason_but_to_the_operator() -> None:
    audit = KeptAudit()
    gateway = make_gateway(audit=audit)
    exchange = make_exchange("DELETE", "/servers/7", values={"principal": caller("viewer")})
    upstream = Recorder()
    settings = {"roles": ROLES, "required_roles": ["operator"]}
    async with running(Rbac, settings, gateway=gateway) as rbac:
        with pytest.raises(Reject) as caught:
            await rbac(exchange, upstream)
    assert (caught.value.status, caught.value.code) == (403, "access_denied")
    assert "operator" not in caught.value.detail
    assert not upstream.exchanges
    (event,) = audit.events
    assert (event.action, event.outcome, event.actor) == ("access", "denied", "ada")
    assert (event.reason, event.path) == ("none of the roles operator", "/servers/7")


async def test_in_shadow_everybody_passes_and_is_counted() -> None:
    audit = KeptAudit()
    gateway = make_gateway(audit=audit)
    exchange = make_exchange(values={"principal": caller("viewer")})
    settings = {"roles": ROLES, "required_roles": ["operator"], "mode": "shadow"}
    async with running(Rbac, settings, gateway=gateway) as rbac:
        assert (await rbac(exchange, Recorder())).status == 200
    counter = gateway.metrics.counter("gatewayd_rbac_decisions", "", ("decision", "route"))
    assert counter.labels("shadow_denied", "").value == 1
    assert audit.events[0].detail == {"mode": "shadow"}


async def test_decisions_are_remembered_within_bounds_for_all_routes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gatewayd_filters.rbac._REMEMBERED", 10)
    gateway = make_gateway()
    viewers, editors = (
        Rbac(RbacConfig(required_roles=[role]), gateway) for role in ("viewer", "editor")
    )
    for number in range(30):
        viewers.decide(caller(f"role{number}"), None)
        editors.decide(caller(f"role{number}"), None)
        assert len(viewers._decided | editors._decided) <= 10
    assert viewers.decide(caller("viewer"), None).allowed
    assert not editors.decide(caller("viewer"), None).allowed


CONFIG = """
pipeline.filters = ["route_match", "rbac", "balancer", "upstream"]
services.origin.instances = [{ url = "http://127.0.0.1:9" }]
routes = [{ name = "all", service = "origin" }]
"""


async def test_a_pipeline_without_authentication_is_refused() -> None:
    with pytest.raises(ConfigError, match="'rbac' requires 'principal'"):
        async with in_memory(CONFIG, upstream=Recorder()):
            pytest.fail("started")


segments = st.sampled_from(["a", "b", "c"])
permissions = st.lists(segments, min_size=1, max_size=4).map(":".join)
grants = st.lists(st.sampled_from(["a", "b", "c", "*"]), min_size=1, max_size=4).map(":".join)


def matches(grant: str, permission: str) -> bool:
    """Say whether a grant gives a permission, segment by segment."""
    given, asked = grant.split(":"), permission.split(":")
    if len(given) > len(asked) or (len(given) < len(asked) and given[-1] != "*"):
        return False
    return all(one in ("*", other) for one, other in zip(given, asked, strict=False))


@given(grant=grants, permission=permissions)
def test_compiled_grants_are_those_that_match(grant: str, permission: str) -> None:
    assert (grant in satisfying(permission)) is matches(grant, permission)


@st.composite
def role_tables(draw: st.DrawFn) -> dict[str, Any]:
    """Draw roles that inherit only from those before them."""
    names = [f"r{number}" for number in range(draw(st.integers(1, 5)))]
    return {
        name: {
            "inherits": draw(st.lists(st.sampled_from(names[:index]), max_size=2)) if index else [],
            "permissions": draw(st.lists(grants, max_size=3)),
        }
        for index, name in enumerate(names)
    }


@given(
    table=role_tables(),
    own=st.lists(grants, max_size=2),
    held=st.lists(st.sampled_from(["r0", "r1", "r2", "r3", "r4", "x"]), max_size=3),
    asked=st.lists(permissions, min_size=1, max_size=2),
    roles=st.none() | st.lists(st.sampled_from(["r0", "r2", "x"]), min_size=1, max_size=2),
    mode=st.sampled_from(["all", "any"]),
)
def test_decisions_are_those_of_a_naive_reading(
    table: dict[str, Any], own: list[str], held: list[str], asked: list[str],
    roles: list[str] | None, mode: str,
) -> None:  # fmt: skip
    def closure(role: str) -> set[str]:
        return {role}.union(*(closure(one) for one in table.get(role, {}).get("inherits", [])))

    has = {inherited for role in held for inherited in closure(role)}
    given = own + [grant for role in has for grant in table.get(role, {}).get("permissions", [])]
    fulfilled = [any(matches(grant, one) for grant in given) for one in asked]
    expected = (all if mode == "all" else any)(fulfilled) and (
        roles is None or not has.isdisjoint(roles)
    )
    config = RbacConfig.model_validate(
        {"roles": table, "required_roles": roles, "required_permissions": {mode: asked}}
    )
    principal = caller(*held, permissions=tuple(own))
    assert Rbac(config, make_gateway()).decide(principal, None).allowed is expected


@pytest.mark.parametrize("required", [True, False])
async def test_what_auth_says_of_the_route_counts(required: bool) -> None:
    exchange = make_exchange(values={"principal": caller(), "auth_required": required})
    async with running(Rbac, {"roles": ROLES}) as rbac:
        assert (await rbac(exchange, Recorder())).status == 200
