"""Authentication through whole gateways: real store, real sockets, hostile credentials."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayd.cli.keys_create import keys_create
from gatewayd.crypto import new_api_key
from gatewayd_filters.auth import Auth
from gatewayd_filters.auth.api_key import ApiKeyMethod
from tests.support.authentication import PEPPER
from tests.support.echo_origin import EchoOrigin, echo_origin
from tests.support.in_process import InProcessGateway, serving
from tests.support.raw import Answer, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gatewayd_filters.auth.api_key.directory import KeyDirectory

SECRET = "of-the-tests-only-0123456789abcdef"
CONFIG = """
[store]
url = "sqlite:///{folder}/gatewayd.db"

[pipeline]
filters = ["request_id", "route_match", "auth", "balancer", "upstream"]

[filters.auth]
methods = ["jwt", "api_key"]

[filters.auth.jwt]
{jwt}

[filters.auth.api_key]
pepper = "{pepper}"
pepper_file = "{folder}/pepper"
snapshot_file = "{folder}/snapshot"
poll_interval = 0.1

[services.origin]
instances = [{{ url = "{url}" }}]

[[routes]]
name = "closed"
path = "/closed"
service = "origin"
auth_required = true

[[routes]]
name = "open"
path = "/open"
service = "origin"
auth_required = false

[[routes]]
name = "query"
path = "/query"
service = "origin"
filters.auth.allow_query = true
"""
JWT = f"""
algorithms = ["HS256"]
secret = "{SECRET}"
"""
REALM = '[filters.auth]\nrealm = "shop"\n'
FIELD = st.binary(max_size=200).map(
    lambda value: bytes(byte for byte in value if (byte >= 32 and byte != 127) or byte == 9)
)
SCHEMES = st.sampled_from([b"Bearer ", b"bearer ", b"Bearer", b"ApiKey ", b"Basic ", b"", b"gw_"])
SEGMENT = st.text("ABCabc019-_=", max_size=40).map(str.encode)
TOKENS = st.one_of(
    FIELD,
    st.lists(SEGMENT, min_size=1, max_size=6).map(b".".join),
    st.sampled_from([b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIiwiZXhwIjo5OTk5OTk5OTk5fQ.", b"null"]),
)
KEYS = st.one_of(FIELD, st.lists(SEGMENT, max_size=4).map(lambda parts: b"gw_" + b"_".join(parts)))
FUZZ = settings(max_examples=300, suppress_health_check=list(HealthCheck))


@pytest.fixture
async def origin() -> AsyncIterator[EchoOrigin]:
    async with echo_origin() as origin:
        yield origin


@pytest.fixture
async def gateway(origin: EchoOrigin, tmp_path: Path) -> AsyncIterator[InProcessGateway]:
    config = CONFIG.format(folder=tmp_path, url=origin.url, jwt=JWT, pepper=PEPPER)
    async with serving(config, tmp_path) as gateway:
        yield gateway


@pytest.fixture
async def key(gateway: InProcessGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Make a key as operators do; the gateway looks for it ten times a second."""
    config = tmp_path / "gateway.toml"
    await asyncio.to_thread(keys_create, owner="shop", roles=("writer",), config=config)
    key = capsys.readouterr().out.strip()
    async with asyncio.timeout(10):
        shown = f"X-API-Key: {key}\r\n".encode()
        while (await ask(gateway, "/closed", shown)).status != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return key


async def ask(gateway: InProcessGateway, target: str, lines: bytes = b"") -> Answer:
    wire = await Wire.connect(gateway.port)
    try:
        return await wire.ask(b"GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n" % (target.encode(), lines))
    finally:
        wire.close()


async def test_a_key_in_the_field(gateway: InProcessGateway, key: str) -> None:
    answer = await ask(gateway, "/closed", f"x-api-key: {key}\r\n".encode())
    assert answer.status == 200
    assert b"\r\nX-User-Id: shop\r\n" in answer.body
    assert b"\r\nX-User-Roles: writer\r\n" in answer.body
    assert f"\r\nX-Api-Key-Id: {key.split('_')[1]}\r\n".encode() in answer.body
    assert key.encode() not in answer.body


async def test_a_key_in_the_query(gateway: InProcessGateway, key: str) -> None:
    answer = await ask(gateway, f"/query?a=1&api_key={key}&b=2")
    assert answer.status == 200
    assert answer.body.startswith(b"GET /query?a=1&b=2 HTTP/1.1\r\n")
    assert (await ask(gateway, f"/closed?api_key={key}")).status == 401


@pytest.mark.parametrize("path", ["/closed", "/open"])
@FUZZ
@given(scheme=SCHEMES, token=TOKENS)
async def test_no_authorization_field_is_500_or_a_principal(
    gateway: InProcessGateway, path: str, scheme: bytes, token: bytes
) -> None:
    answer = await ask(gateway, path, b"Authorization: %s%s\r\n" % (scheme, token))
    _harmless(answer, path)


@pytest.mark.parametrize("path", ["/closed", "/open"])
@FUZZ
@given(shown=KEYS)
async def test_no_key_field_is_500_or_a_principal(
    gateway: InProcessGateway, path: str, shown: bytes
) -> None:
    answer = await ask(gateway, path, b"X-API-Key: %s\r\n" % shown)
    assert answer.status == 401
    _harmless(answer, path)


@FUZZ
@given(query=st.binary(max_size=80).map(lambda raw: bytes(b for b in raw if 0x21 <= b < 0x7F)))
async def test_no_query_is_500_or_a_principal(gateway: InProcessGateway, query: bytes) -> None:
    for target in (b"/query?api_key=" + query, b"/query?" + query + b"&api_key=a"):
        answer = await ask(gateway, target.replace(b"#", b"").decode())
        _harmless(answer, "/query")


def _harmless(answer: Answer, path: str) -> None:
    if answer.status == 200:  # no credential of a known kind: an anonymous caller
        assert path == "/open"
        assert b"\r\nx-user-id:" not in answer.body.lower()
    else:
        assert answer.status in (400, 401)


async def test_bodies_and_fields_of_all_refusals_are_the_same(
    gateway: InProcessGateway, key: str
) -> None:
    other = new_api_key()[2]
    wrong = "_".join([*key.split("_")[:2], other.split("_")[2]])
    answers = set()
    for shown in ("", "gw_", "x" * 50, other, wrong, f"{key}, {key}", key + "a", key.upper()):
        answer = await ask(gateway, "/closed", f"X-API-Key: {shown}\r\n".encode())
        problem = json.loads(answer.body)
        del problem["request_id"]
        fields = [one for one in answer.fields if one[0].lower() not in ("x-request-id", "date")]
        answers.add((answer.status, json.dumps(problem), tuple(fields)))
    assert len(answers) == 1


async def test_nothing_shown_is_told_without_an_error(gateway: InProcessGateway) -> None:
    answer = await ask(gateway, "/closed")
    assert answer.status == 401
    assert answer.all("WWW-Authenticate") == [
        'Bearer realm="gatewayd"',
        'ApiKey realm="gatewayd"',
    ]


async def test_a_reload_keeps_what_is_known_of_keys(
    gateway: InProcessGateway, origin: EchoOrigin, key: str, tmp_path: Path
) -> None:
    before = directories(gateway)
    config = (tmp_path / "gateway.toml").read_text()
    await gateway.adopt(config.replace('"/open"', '"/opened"').replace("[filters.auth]", REALM))
    assert directories(gateway) == before
    assert len(before) == 1  # of three routes
    answer = await ask(gateway, "/closed", f"X-API-Key: {key}\r\n".encode())
    assert answer.status == 200
    answer = await ask(gateway, "/closed")
    assert 'ApiKey realm="shop"' in answer.all("WWW-Authenticate")


def directories(gateway: InProcessGateway) -> set[KeyDirectory]:
    filters = gateway.generations.current.pipeline.filters
    methods = {source[0] for one in filters if isinstance(one, Auth) for source in one._sources}
    return {one._directory for one in methods if isinstance(one, ApiKeyMethod)}
