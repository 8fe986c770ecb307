"""API keys while a real database server is killed, away, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.held_origin import HeldOrigin

if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = pytest.mark.slow

CONFIG = """
[store]
url = "{url}"

[pipeline]
filters = ["ops", "route_match", "auth", "balancer", "upstream"]

[filters.auth.api_key]
pepper = "{pepper}"
{more}

[services.origin]
instances = [{{ url = "http://127.0.0.1:{port}" }}]

[[routes]]
name = "all"
service = "origin"
"""
UNKNOWN = f"gw_{'0' * 16}_{'1' * 64}"


@pytest.fixture
def origin() -> Iterator[HeldOrigin]:
    with HeldOrigin() as origin:
        yield origin
