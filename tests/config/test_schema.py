"""Values that the models check beyond their types."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gatewayd.config.schema import (
    InstanceConfig,
    RouteConfig,
    ServerConfig,
    TlsConfig,
    UpstreamTlsConfig,
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:9001", "http://127.0.0.1:9001"),
        ("https://shop.internal", "https://shop.internal"),
        ("http://[::1]:9001/", "http://[::1]:9001"),
    ],
)
def test_url_of_an_instance(url: str, expected: str) -> None:
    assert InstanceConfig(url=url).url == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("127.0.0.1:9001", "expected http://host:port or https://host:port"),
        ("ftp://a", "expected http://host:port or https://host:port"),
        ("http://a b", "expected http://host:port or https://host:port"),
        ("http://@a", "no credentials, query or fragment"),
        ("http://", "expected http://host:port or https://host:port"),
        ("http://user:password@a", "no credentials, query or fragment"),
        ("http://a?b", "no credentials, query or fragment"),
        ("http://a/b", "no path; use the route's rewrite"),
        ("http://a:99999", "Port out of range"),
        ("http://a:0", "nothing listens on port 0"),
    ],
)
def test_what_is_no_url_of_an_instance(url: str, expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        InstanceConfig(url=url)


@pytest.mark.parametrize(
    ("written", "expected"),
    [("10.0.0.0/8", "10.0.0.0/8"), ("10.1.2.3", "10.1.2.3/32"), ("10.1.2.3/8", "10.0.0.0/8"),
     ("::1", "::1/128")],
)  # fmt: skip
def test_networks(written: str, expected: str) -> None:
    server = ServerConfig.model_validate({"trusted_proxies": [written]})
    assert [str(network) for network in server.trusted_proxies] == [expected]


@pytest.mark.parametrize("written", [10, True, 2**40], ids=str)
def test_a_number_is_no_network(written: object) -> None:
    with pytest.raises(ValidationError, match="expected a network"):
        ServerConfig.model_validate({"trusted_proxies": [written]})


@pytest.mark.parametrize("name", ["", "X-User Id", "X-User-Id:", "X-Ü"])
def test_what_is_no_name_of_a_field_is_no_identity_header(name: str) -> None:
    with pytest.raises(ValidationError, match="identity_headers"):
        ServerConfig.model_validate({"identity_headers": [name]})


def test_an_empty_host_is_no_address() -> None:
    with pytest.raises(ValidationError, match="host"):
        ServerConfig.model_validate({"host": ""})


@pytest.mark.parametrize("name", ["", "a b", "a\r\n"])
def test_what_is_no_name_of_a_server(name: str) -> None:
    with pytest.raises(ValidationError, match="server_name"):
        UpstreamTlsConfig(server_name=name)


CERTIFICATES: dict[str, Any] = {"certificates": [{"certificate": "a.pem", "key": "a.key"}]}


@pytest.mark.parametrize(
    "more", [{"client_ca": "ca.pem"}, {"client_certificates": "required"}], ids=str
)
def test_client_certificates_need_an_authority_and_the_other_way_round(
    more: dict[str, str],
) -> None:
    with pytest.raises(ValidationError, match="client_ca and client_certificates go together"):
        TlsConfig.model_validate({**CERTIFICATES, **more})


def test_client_certificates() -> None:
    more = {"client_ca": "ca.pem", "client_certificates": "optional"}
    assert TlsConfig.model_validate({**CERTIFICATES, **more}).client_ca == "ca.pem"


@pytest.mark.parametrize(
    "goes", [{}, {"service": "a", "redirect": {"to": "/"}}], ids=["nowhere", "two ways"]
)
def test_a_route_goes_to_one_place(goes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="either a service or a redirect"):
        RouteConfig.model_validate({"name": "a", **goes})


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("a", [("a", 1)]),
        ([{"name": "a", "weight": 9}, {"name": "b"}], [("a", 9), ("b", 1)]),
        (None, []),
    ],
)
def test_services_of_a_route(service: Any, expected: list[tuple[str, int]]) -> None:
    goes = {"service": service} if service else {"redirect": {"to": "/"}}
    route = RouteConfig.model_validate({"name": "a", **goes})
    assert [(one.name, one.weight) for one in route.services] == expected
