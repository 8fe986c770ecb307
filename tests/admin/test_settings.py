from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gatewayd.admin.settings import AdminConfig

TLS = {"certificate": "c.pem", "key": "k.pem"}
MUTUAL = TLS | {"client_ca": "ca.pem"}
TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    "settings",
    [
        {"listen": "127.0.0.1:8002"},
        {"listen": "[::1]:8002"},
        {"listen": "localhost:0"},
        {"listen": "unix:/run/gatewayd/admin.sock"},
        {"listen": "127.0.0.1:8002", "token": TOKEN},
        {"listen": "0.0.0.0:8002", "token": TOKEN, "tls": TLS},
        {"listen": "gateway.example:8002", "tls": MUTUAL},
    ],
)
def test_listeners_that_are_guarded(settings: dict[str, Any]) -> None:
    assert AdminConfig.model_validate(settings).listen == settings["listen"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"listen": "0.0.0.0:8002"}, "needs tls"),
        ({"listen": "192.0.2.1:8002", "token": TOKEN}, "needs tls"),
        ({"listen": "gateway.example:8002", "tls": TLS}, "needs a token"),
        ({"listen": "127.0.0.1:8002", "token": "short"}, "16 characters"),
        ({"listen": "unix:relative.sock"}, "absolute path"),
        ({"listen": "unix:/a.sock", "tls": TLS}, "has no TLS"),
        ({"listen": "127.0.0.1"}, "HOST:PORT"),
        ({"listen": "127.0.0.1:70000"}, "HOST:PORT"),
        ({"listen": ""}, "HOST:PORT"),
        ({}, "Field required"),
        ({"listen": "127.0.0.1:1", "tls": TLS | {"client_key": "k"}}, "go together"),
    ],
)
def test_listeners_that_are_not(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        AdminConfig.model_validate(settings)


def test_the_token_is_in_no_repr() -> None:
    assert TOKEN not in repr(AdminConfig(listen="127.0.0.1:1", token=TOKEN))
