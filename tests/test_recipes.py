"""docs/recipes.md: what each recipe promises, asked of a gateway with its configuration."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import jwt
import pytest

from gatewayd import Exchange, Response
from gatewayd.testing import Recorder, in_memory
from tests.support.asking import SECRET, on_this_machine
from tests.support.servers import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (REPOSITORY / "docs" / "recipes.md").read_text()
SECTIONS = {
    section.partition("\n")[0]: section
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
}


def block(section: str, language: str) -> str:
    """Return the one block of a language in a section."""
    (found,) = re.findall(
        rf"^```{language}\n(.*?)^```$", SECTIONS[section], re.DOTALL | re.MULTILINE
    )
    return str(found)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What gateways keep, they keep in the folder of the test."""
    monkeypatch.chdir(tmp_path)


def configuration(section: str, folder: Path) -> str:
    return on_this_machine(block(section, "toml"), folder)


def test_every_configuration_has_a_test() -> None:
    with_one = {name for name, text in SECTIONS.items() if "```toml" in text}
    assert with_one == {HTTPS, CORS, CANARY, TENANT, KEY, LOGS}


HTTPS = "HTTPS, and HTTP that is sent there"
CORS = "Pages of another origin (CORS)"
CANARY = "A new version for a few (canary)"
TENANT = "A limit for each tenant"
KEY = "An API key, from its making to its end"
LOGS = "Logs that rotate"


async def test_https(tmp_path: Path) -> None:
    async with in_memory(configuration(HTTPS, tmp_path)) as gateway:
        shop = await gateway.send("GET", "/cart", host="www.example.org")
        other = await gateway.send("GET", "/cart", host="example.com")
    assert (shop.status, other.status) == (200, 404)


async def test_cors(tmp_path: Path) -> None:
    origin = {"Origin": "https://app.example.org"}
    asks = {**origin, "Access-Control-Request-Method": "PUT"}
    async with in_memory(configuration(CORS, tmp_path)) as gateway:
        preflight = await gateway.send("OPTIONS", "/api/items", headers=asks)
        answer = await gateway.send("GET", "/api/items", headers=origin)
        foreign = await gateway.send("GET", "/api", headers={"Origin": "https://evil.example"})
    for response in (preflight, answer):
        assert response.headers.get("Access-Control-Allow-Origin") == origin["Origin"]
    assert answer.status == 200
    assert "Access-Control-Allow-Origin" not in foreign.headers


async def test_canary(tmp_path: Path) -> None:
    async def which(exchange: Exchange) -> Response:
        assert exchange.service is not None
        return Response(200, body=exchange.service.name.encode())

    async with in_memory(configuration(CANARY, tmp_path), upstream=which) as gateway:
        tester = await gateway.send("GET", "/shop", headers={"X-Tester": "ada"})
        anybody = [await gateway.send("GET", "/shop/cart") for _ in range(400)]
    assert tester.body == b"shop-next"
    seen = [response.body for response in anybody]
    assert {*seen} == {b"shop", b"shop-next"}
    assert seen.count(b"shop") > seen.count(b"shop-next")


def token(tenant: str, user: str) -> dict[str, str]:
    claims = {"sub": user, "tenant": tenant, "exp": 4_000_000_000}
    return {"Authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"}


async def test_a_limit_for_each_tenant(tmp_path: Path) -> None:
    async with in_memory(configuration(TENANT, tmp_path)) as gateway:
        first = [
            (await gateway.send("GET", "/api", headers=token("blue", f"user-{one}"))).status
            for one in range(21)
        ]
        other = await gateway.send("GET", "/api", headers=token("green", "user-0"))
        nobody = await gateway.send("GET", "/api")
    assert first == [200] * 20 + [429]
    assert (other.status, nobody.status) == (200, 401)


def gatewayd(folder: Path, arguments: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gatewayd", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_key_from_its_making_to_its_end(tmp_path: Path) -> None:
    config = configuration(KEY, tmp_path)
    (tmp_path / "gateway.toml").write_text(config)
    commands = [shlex.split(line, comments=True)[1:] for line in block(KEY, "sh").splitlines()]
    create, listing, show, revoke = commands
    key = gatewayd(tmp_path, create).strip()
    named = key.split("_")[1]
    upstream = Recorder()
    async with in_memory(config, upstream=upstream) as gateway:
        with_key = await gateway.send("GET", "/items", headers={"X-API-Key": key})
        without = await gateway.send("GET", "/items")
    assert (with_key.status, without.status) == (200, 401)
    assert named in gatewayd(tmp_path, listing)
    assert "last_used" in gatewayd(tmp_path, [one.replace("ID", named) for one in show])
    gatewayd(tmp_path, [one.replace("ID", named) for one in revoke])
    async with in_memory(config, upstream=upstream) as gateway:
        revoked = await gateway.send("GET", "/items", headers={"X-API-Key": key})
    assert revoked.status == 401


async def test_logs(tmp_path: Path) -> None:
    async with in_memory(configuration(LOGS, tmp_path)) as gateway:
        assert (await gateway.send("GET", "/api/items")).status == 200
    assert '"url.path":"/api/items"' in (tmp_path / "access.log").read_text()
