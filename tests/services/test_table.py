from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gatewayd.errors import ConfigError
from gatewayd.services.discovery import Discovery

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.conftest import Generations

URL = "http://127.0.0.1:9101"
SECOND = "http://127.0.0.1:9102"


def service(*urls: str, **settings: Any) -> dict[str, dict[str, Any]]:
    return {"api": {"instances": [{"url": url} for url in urls or [URL]], **settings}}


async def test_static_instances_are_there_after_start(generations: Generations) -> None:
    instances = [{"url": URL, "weight": 2, "zone": "az1"}, {"url": SECOND, "healthy": False}]
    async with generations.build({"api": {"instances": instances}}) as services:
        await services["api"].start()
        known = [(one.url, one.weight, one.zone) for one in services["api"].available]
        assert known == [(URL, 2, "az1")]
        assert list(services["api"].instances) == [URL, SECOND]


@pytest.mark.parametrize(
    ("change", "service_survives", "pool_survives"),
    [
        ({}, True, True),
        ({"filters": {"cors": False}}, True, True),
        ({"instances": [{"url": SECOND}, {"url": URL}]}, False, True),
        ({"instances": [{"url": URL, "weight": 7}]}, False, True),
        ({"max_connections": 7}, False, False),
        ({"connect_timeout": 0.5}, False, False),
        ({"tls": {"verify": False}}, False, False),
    ],
    ids=str,
)
async def test_what_survives_a_reload(
    generations: Generations,
    change: dict[str, Any],
    service_survives: bool,
    pool_survives: bool,
) -> None:
    async with generations.build(service()) as before:
        await before["api"].start()
        pool = before["api"].instances[URL].pool
        async with generations.build({"api": service()["api"] | change}) as after:
            await after["api"].start()
            assert (after["api"] is before["api"]) == service_survives
            assert (after["api"].instances[URL].pool is pool) == pool_survives


async def test_the_instances_of_a_service_share_what_is_known_of_response_heads(
    generations: Generations,
) -> None:
    configs = {**service(URL, SECOND), "other": service(URL)["api"]}
    async with generations.build(configs) as services:
        for one in services.values():
            await one.start()
        known = {url: one.pool.heads for url, one in services["api"].instances.items()}
        assert known[URL] is known[SECOND]
        assert services["other"].instances[URL].pool.heads is not known[URL]


async def test_what_survives_is_usable_after_the_first_generation_has_closed(
    generations: Generations,
) -> None:
    async with generations.build(service(URL, SECOND)) as first:
        await first["api"].start()
        pools = {url: one.pool for url, one in first["api"].instances.items()}
        second = generations.build(service(URL))
        services = await second.__aenter__()
        await services["api"].start()
    assert not services["api"].instances[URL].pool._closed
    assert pools[SECOND]._closed
    await second.__aexit__(None, None, None)
    assert pools[URL]._closed


async def test_renewed_tls_files_are_taken_by_a_reload(
    generations: Generations, tmp_path: Path, authority: bytes
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority)
    config = service("https://127.0.0.1:9443", tls={"ca": str(ca)})
    async with generations.build(config) as before:
        await before["api"].start()
        ca.write_bytes(authority * 2)
        async with generations.build(config) as after:
            await after["api"].start()
            assert after["api"] is not before["api"]


async def test_services_with_equal_tls_settings_share_one_context(generations: Generations) -> None:
    instances = [{"url": "https://127.0.0.1:9443"}]
    configs = {"one": {"instances": instances}, "two": {"instances": instances}}
    async with generations.build(configs) as services:
        pools = []
        for one in services.values():
            await one.start()
            pools.append(one.available[0].pool)
        assert pools[0]._tls is pools[1]._tls is not None


@pytest.mark.parametrize(
    ("settings", "key", "message"),
    [
        ({"discovery": "consull"}, "services.api.discovery", "no plugin 'consull'"),
        ({"discovery": "dns", "port": 80}, "services.api.name", "Field required"),
        ({"instances": []}, "services.api.instances", "at least 1"),
        ({"instances": [{"url": "x"}]}, "services.api.instances.0.url", "expected http"),
        ({"tls": {"ca": "/nowhere.pem"}}, "services.api.tls.ca", "No such file"),
        ({"tls": {"key": "/nowhere.pem"}}, "services.api.tls.key", "`certificate`"),
    ],
    ids=str,
)
async def test_unusable_settings_are_named(
    generations: Generations, settings: dict[str, Any], key: str, message: str
) -> None:
    base = service()["api"] if settings.get("discovery") is None else {}
    with pytest.raises(ConfigError) as caught:
        async with generations.build({"api": base | settings, "other": service()["api"]}):
            pass
    (issue,) = caught.value.issues
    assert issue.key == key
    assert message in issue.message


async def test_a_discovery_that_cannot_be_constructed_is_named(
    generations: Generations, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Discovery):
        name = "broken"

        def __init__(self, service: str, config: Any) -> None:
            raise RuntimeError("not today")

    generations.install(Broken)
    with pytest.raises(ConfigError, match=r"services\.api\.discovery: .*'broken'.*not today"):
        async with generations.build({"api": {"discovery": "broken"}}):
            pass
    assert "not today" in caplog.text
