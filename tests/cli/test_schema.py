from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Run


def test_schema_has_the_installed_filters(run: Callable[..., Run]) -> None:
    schema = run("schema").json()
    assert "balancer" in schema["properties"]["filters"]["properties"]


def test_schema_as_a_page(run: Callable[..., Run]) -> None:
    page = run("schema", "--markdown").out
    assert page.startswith("# Configuration\n")
    assert "`[filters.balancer]`" in page
