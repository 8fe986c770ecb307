from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.servers import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Run

FILE = "conf/gateway.toml"
TOUR = REPOSITORY.parent / "shared" / "conf" / "tour.toml"


def change(old: str, new: str) -> None:
    path = Path(FILE)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_good_configuration(run: Callable[..., Run]) -> None:
    summary = "4 routes, 2 services, 6 filters"
    assert run("check") == (0, f"conf/gateway.toml: ok ({summary})\n", "")


def test_a_good_configuration_as_json(run: Callable[..., Run]) -> None:
    assert run("check", "--json").json() == {"ok": True, "errors": [], "warnings": []}


def test_all_errors_are_told_at_once_with_their_places(run: Callable[..., Run]) -> None:
    change('service = "origin"', 'service = "orign"')
    change("weight = 95", "weight = -1")
    status, out, err = run("check")
    assert (status, out) == (1, "")
    first, second = err.splitlines()
    service = "routes[0].service: service 'orign' is not defined (did you mean 'origin'?)"
    assert first == f"{FILE}:13: {service}"
    assert second.startswith(f"{FILE}:20: routes[1].service[0].weight: ")


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("max_age", "max_aeg", ":40: services.canary.filters.cors.max_aeg: unknown key"),
        ("/orders/{id}", "/orders/{id", ":17: routes[1].path: a brace is not closed"),
        (
            '"balancer", "upstream"',
            '"upstream"',
            ":11: routes[0]: filter 'upstream' requires 'instance'",
        ),
        (
            "[pipeline]",
            '[filters.balancer]\nstrategy = "round"\n[pipeline]',
            ":3: filters.balancer.strategy: no plugin 'round'",
        ),
        (
            "[pipeline]",
            '[server.tls]\ncertificates = [{ certificate = "c", key = "k" }]\n[pipeline]',
            ":3: server.tls.certificates[0]: certificate or key cannot be loaded",
        ),
        (
            '[services.canary]',
            '[services.canary]\ntls = { ca = "nowhere.pem" }',
            ":39: services.canary.tls.ca: nowhere.pem cannot be read",
        ),
    ],
)  # fmt: skip
def test_what_is_found_by_building(run: Callable[..., Run], old: str, new: str, error: str) -> None:
    change(old, new)
    status, _, err = run("check")
    assert status == 1
    assert f"{FILE}{error}" in err


def test_a_certificate_of_the_admin_listener_that_cannot_be_loaded(run: Callable[..., Run]) -> None:
    table = '[admin]\nlisten = "127.0.0.1:0"\ntls = { certificate = "no.pem", key = "no.key" }\n'
    change("[[routes]]", f"{table}\n[[routes]]")
    status, _, told = run("check")
    assert status == 1
    assert told.startswith("conf/gateway.toml:13: admin.tls: certificate, key or authorities")


def test_errors_as_json(run: Callable[..., Run]) -> None:
    change('"${HEADER}"', "7")
    status, out, _ = run("check", "--json")
    assert status == 1
    assert '"ok": false' in out
    assert '"line": 6' in out
    assert '"key": "filters.request_id.header"' in out


def test_what_is_probably_a_mistake_is_a_warning(run: Callable[..., Run]) -> None:
    twin = '[[routes]]\nname = "twin"\npath = "/old"\nservice = "origin"\n\n[services.origin]'
    change("[services.origin]", twin)
    status, out, err = run("check")
    assert status == 0
    assert "ok" in out
    (line,) = err.splitlines()
    assert line.startswith(f"warning: {FILE}:")
    assert "twin" in line


NOBODY = "does not say who may use it (auth_required, roles, permissions): nobody may"


def with_access_control(extra: str = "") -> None:
    """Have callers judged, as the default pipeline does; ``extra`` stands before it."""
    change('"balancer"', '"auth", "rbac", "balancer"')
    change("[pipeline]", f"{extra}\n[pipeline]")


def test_a_route_that_lets_nobody_pass_is_a_warning(run: Callable[..., Run]) -> None:
    with_access_control()
    change('service = "canary"', 'service = "canary"\nroles = ["tester"]')
    status, out, err = run("check")
    assert status == 0
    assert "ok" in out
    everything, orders = err.splitlines()  # not the one with roles, nor the redirect
    assert everything == f"warning: {FILE}:12: routes[0]: route 'everything' {NOBODY}"
    assert orders == f"warning: {FILE}:16: routes[1]: route 'orders' {NOBODY}"


@pytest.mark.parametrize(
    "said",
    [
        "filters.auth.required = false",
        "filters.auth.required = true",
        'filters.rbac.required_permissions = ["orders:read"]',
        'filters.rbac.default = "allow"',
        'filters.rbac.default = "deny"',
        'filters.rbac.mode = "shadow"',
    ],
)
def test_no_warning_where_the_configuration_says_what_becomes_of_routes(
    run: Callable[..., Run], said: str
) -> None:
    with_access_control(said)
    assert run("check").err == ""


@pytest.mark.skipif(not TOUR.is_file(), reason="tour.toml is not beside this checkout")
def test_the_tour_of_the_configuration_has_no_warning(run: Callable[..., Run]) -> None:
    status, _, err = run("check", "-c", str(TOUR))
    assert (status, err) == (0, "")


def test_the_environment_is_chosen(run: Callable[..., Run]) -> None:
    Path(".env.bad").write_text("GATEWAYD_SERVER__PORT=none\n")
    assert run("check").status == 0
    assert ".env.bad:1: server.port" in run("check", "--env", "bad").err
