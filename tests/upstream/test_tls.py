"""TLS towards instances: verified unless the configuration says otherwise."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import ConnectFailure, Response, UpstreamReset
from gatewayd.config.schema import UpstreamTlsConfig
from gatewayd.services.tls import ClientTls
from gatewayd.testing import read_body
from tests.support.certificates import Authority
from tests.support.raw import Wire, raw_origin
from tests.support.upstream import make_attempt, make_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gatewayd.timers import Sweeper
    from gatewayd.upstream.pool import Pool
    from tests.support.raw import RawOrigin


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def secure(authority: Authority) -> AsyncIterator[RawOrigin]:
    """An origin that is origin.test."""
    async with raw_origin(authority.server_context("origin.test")) as origin:
        yield origin


def pool_to(sweeper: Sweeper, origin: RawOrigin, **settings: Any) -> Pool:
    tls = ClientTls("origin", UpstreamTlsConfig.model_validate(settings)).context
    url = origin.url.replace("http:", "https:")
    return make_pool(sweeper, url, tls, tls=settings)


async def sent(pool: Pool, origin: RawOrigin) -> tuple[asyncio.Task[Response], Wire]:
    response = asyncio.create_task(pool.send(make_attempt()))
    wire = await origin.accept()
    await wire.read_head()
    return response, wire


@pytest.mark.parametrize(
    "settings",
    [{"server_name": "origin.test"}, {"verify": False}, {"verify": False, "server_name": "x.test"}],
    ids=str,
)
async def test_an_instance_that_is_who_it_should_be(
    sweeper: Sweeper, secure: RawOrigin, authority: Authority, settings: dict[str, Any]
) -> None:
    pool = pool_to(sweeper, secure, ca=str(authority.file), **settings)
    response, wire = await sent(pool, secure)
    assert wire.tls.selected_alpn_protocol() is None
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert (await response).body == b"ok"
    pool.close()


async def test_an_address_is_verified_as_well(sweeper: Sweeper, authority: Authority) -> None:
    async with raw_origin(authority.server_context("127.0.0.1")) as origin:
        pool = pool_to(sweeper, origin, ca=str(authority.file))
        response, wire = await sent(pool, origin)
        wire.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert (await response).status == 204
        pool.close()


@pytest.mark.parametrize("name", ["other.test", None])
async def test_an_instance_of_another_name(
    sweeper: Sweeper, secure: RawOrigin, authority: Authority, name: str | None
) -> None:
    pool = pool_to(sweeper, secure, ca=str(authority.file), server_name=name)
    with pytest.raises(ConnectFailure, match="certificate verify failed") as caught:
        await pool.send(make_attempt())
    assert not caught.value.sent
    assert pool._open == 0


async def test_an_instance_of_another_authority(
    sweeper: Sweeper, secure: RawOrigin, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "Somebody Else")
    for ca in (str(other.file), None):
        pool = pool_to(sweeper, secure, ca=ca, server_name="origin.test")
        with pytest.raises(ConnectFailure, match="certificate verify failed"):
            await pool.send(make_attempt())
        assert pool._open == 0


async def test_an_instance_that_speaks_no_tls(sweeper: Sweeper, origin: RawOrigin) -> None:
    pool = pool_to(sweeper, origin)
    response = asyncio.create_task(pool.send(make_attempt()))
    (await origin.accept()).send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(ConnectFailure):
        await response
    assert pool._open == 0


async def test_the_instance_learns_the_name_and_the_gateway_s_certificate(
    sweeper: Sweeper, authority: Authority
) -> None:
    context = authority.server_context("origin.test")
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    certificate, key = authority.issue("gateway.test", common_name="the gateway")
    async with raw_origin(context) as origin:
        pool = pool_to(
            sweeper, origin, ca=str(authority.file), server_name="origin.test",
            certificate=certificate, key=key,
        )  # fmt: skip
        response, wire = await sent(pool, origin)
        assert names == ["origin.test"]
        shown = wire.tls.getpeercert()
        assert shown is not None
        assert shown["subject"] == ((("commonName", "the gateway"),),)
        wire.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert (await response).status == 204
        pool.close()


async def test_a_body_without_framing_ends_with_the_connection(
    sweeper: Sweeper, secure: RawOrigin
) -> None:
    response, wire = await sent(pool_to(sweeper, secure, verify=False), secure)
    wire.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
    message = await response
    wire.close()
    assert await read_body(message) == b"hello"


async def test_a_body_that_somebody_cuts_off_is_not_whole(
    sweeper: Sweeper, secure: RawOrigin
) -> None:
    response, wire = await sent(pool_to(sweeper, secure, verify=False), secure)
    wire.send(b"HTTP/1.1 200 OK\r\n\r\nhel")
    message = await response
    wire.cut()
    with pytest.raises(UpstreamReset):
        await read_body(message)
