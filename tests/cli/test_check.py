from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Run

FILE = "conf/gateway.toml"


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


def test_the_environment_is_chosen(run: Callable[..., Run]) -> None:
    Path(".env.bad").write_text("GATEWAYD_SERVER__PORT=none\n")
    assert run("check").status == 0
    assert ".env.bad:1: server.port" in run("check", "--env", "bad").err
