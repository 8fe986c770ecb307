"""gatewayd token, gatewayd crypto and gatewayd rbac."""

from __future__ import annotations

import asyncio
import io
import json
import stat
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import jwt
import pytest

from gatewayd.cli import main, token_revoke
from gatewayd.crypto import load_private_key, load_public_key
from gatewayd.store.errors import StoreUnavailable
from gatewayd.store.revoked_tokens import RevokedTokens
from gatewayd.store.settings import StoreConfig
from gatewayd.store.store import Store, opened_store
from gatewayd_filters.auth.jwt import claims
from tests.support.mariadb import MariaDb
from tests.support.process import free_port
from tests.support.tokens import SECRET, by_hand, private_key, private_pem, public_pem

CONFIG = f"""
[pipeline]
filters = ["route_match", "auth", "rbac", "balancer", "upstream"]
[filters.auth]
methods = ["jwt"]
[filters.auth.jwt]
algorithms = ["HS256"]
secret = "{SECRET}"
issuer = "us"
[filters.rbac.roles]
viewer = ["servers:read"]
operator = {{ inherits = ["viewer"], permissions = ["servers:*"] }}
[services.origin]
instances = [{{ url = "http://127.0.0.1:9" }}]
[[routes]]
name = "servers"
path = "/servers"
service = "origin"
permissions = ["servers:write"]
[[routes]]
name = "open"
path = "/open"
service = "origin"
auth_required = false
[[routes]]
name = "silent"
path = "/silent"
service = "origin"
[[routes]]
name = "moved"
path = "/moved"
redirect = {{ to = "/open" }}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "gateway.toml"
    file.write_text(CONFIG)
    return str(file)


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOKEN_SECRET", SECRET)
    monkeypatch.delenv("KEY_PASSPHRASE", raising=False)
    monkeypatch.chdir(tmp_path)


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int, str, str]:
    """Run a command; return exit status, output and errors."""
    monkeypatch.setattr(sys, "argv", ["gatewayd", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    printed = capsys.readouterr()
    return int(caught.value.code or 0), printed.out, printed.err


@pytest.fixture
def gatewayd(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda *arguments: run(capsys, monkeypatch, *arguments)


def test_mints_a_token(gatewayd: Any) -> None:
    status, out, err = gatewayd(
        "token", "mint", "--sub", "ada", "--role", "viewer", "--role", "admin", "--issuer", "us",
        "--claim", "tenant=t1", "--claim", "level=7",
    )  # fmt: skip
    claims = jwt.decode(out.strip(), SECRET, ["HS256"])
    assert status == 0
    assert (claims["sub"], claims["roles"], claims["iss"]) == ("ada", ["viewer", "admin"], "us")
    assert (claims["tenant"], claims["level"]) == ("t1", 7)
    assert claims["exp"] == claims["iat"] + 3600
    assert "development" in err


def test_mints_a_token_with_a_private_key(gatewayd: Any, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(private_pem("ES256"))
    arguments = ["--sub", "ada", "--alg", "ES256", "--key", "key.pem", "--kid", "one"]
    _, out, _ = gatewayd("token", "mint", *arguments)
    assert jwt.get_unverified_header(out.strip())["kid"] == "one"
    assert jwt.decode(out.strip(), public_pem("ES256"), ["ES256"])["sub"] == "ada"


def test_an_empty_passphrase_is_none(
    gatewayd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_PASSPHRASE", "")
    (tmp_path / "key.pem").write_bytes(private_pem("ES256"))
    assert gatewayd("token", "mint", "--sub", "a", "--alg", "ES256", "--key", "key.pem")[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--alg", "RS256"],
        ["--alg", "none"],
        ["--alg", "RS256", "--key", "nowhere.pem"],
        ["--secret-file", "nowhere"],
        ["--claim", "tenant"],
        ["--alg", "ES256", "--key", "rsa.pem"],
        ["--alg", "HS256", "--key", "rsa.pem"],
        ["--secret-file", "short"],
    ],
)
def test_what_cannot_be_minted(gatewayd: Any, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "rsa.pem").write_bytes(private_pem("RS"))
    (tmp_path / "short").write_text("too short")
    status, out, err = gatewayd("token", "mint", "--sub", "ada", *arguments)
    assert (status, out) == (1, "")
    assert "Traceback" not in err


def mint(**claims: Any) -> str:
    return jwt.encode({"sub": "ada", "iss": "us", "exp": 2_000_000_000, **claims}, SECRET, "HS256")


def test_inspects_a_token(gatewayd: Any) -> None:
    status, out, _ = gatewayd("token", "inspect", mint())
    assert status == 0
    assert "sub: ada" in out
    assert "exp: 2033-05-18T03:33:20Z" in out
    assert "not verified" in out


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_inspects_what_comes_in(
    gatewayd: Any, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"Bearer {mint()}\n"))
    assert gatewayd("token", "inspect", *arguments, "--json")[0] == 0


@pytest.mark.parametrize(
    ("claims", "status", "verdict"),
    [
        ({"roles": ["viewer"]}, 0, "accepted: ada, roles viewer"),
        ({"exp": 1_000_000_000}, 1, "refused: expired"),
        ({"iss": "them"}, 1, "refused: issuer"),
    ],
)
def test_tells_whether_the_gateway_would_believe_it(
    gatewayd: Any, config: str, claims: dict[str, Any], status: int, verdict: str
) -> None:
    found, out, _ = gatewayd("token", "inspect", mint(**claims), "-c", config, "--json")
    assert (found, json.loads(out)["verdict"]) == (status, verdict)


def test_verifies_with_a_key_in_a_file(gatewayd: Any, config: str, tmp_path: Path) -> None:
    (tmp_path / "issuer.pem").write_text(public_pem("RS"))
    file = tmp_path / "gateway.toml"
    text = CONFIG.replace('"HS256"', '"RS256"')
    file.write_text(text.replace(f'secret = "{SECRET}"', 'public_key = { file = "issuer.pem" }'))
    (tmp_path / "rsa.pem").write_bytes(private_pem("RS"))
    arguments = ["--sub", "ada", "--alg", "RS256", "--key", "rsa.pem", "--issuer", "us"]
    _, token, _ = gatewayd("token", "mint", *arguments)
    status, out, _ = gatewayd("token", "inspect", token.strip(), "-c", config)
    assert (status, "accepted: ada" in out) == (0, True)


def test_an_issuer_that_is_away_is_told_and_is_no_success(gatewayd: Any, config: str) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    text = CONFIG.replace('"HS256"', '"RS256"')
    Path(config).write_text(text.replace(f'secret = "{SECRET}"', f'jwks_url = "{url}"'))
    token = jwt.encode({"sub": "ada", "exp": 2_000_000_000}, private_key("RS"), "RS256")
    status, out, _ = gatewayd("token", "inspect", token, "-c", config)
    assert (status, "verdict: cannot be judged: jwks" in out) == (1, True)


@pytest.mark.parametrize(
    ("claims", "wrong"),
    [
        ({"exp": 1_000_000_000}, "it has expired"),
        ({"nbf": 2_000_000_000}, "nbf is in the future"),
        ({"iat": 2_000_000_000}, "iat is in the future"),
        ({"exp": "soon"}, "exp is no time"),
        ({"exp": True}, "exp is no time"),
        ({"exp": float("nan")}, "exp is no time"),
    ],
)
def test_tells_what_is_wrong_without_keys(
    gatewayd: Any, claims: dict[str, Any], wrong: str
) -> None:
    status, out, _ = gatewayd("token", "inspect", by_hand_token({"alg": "HS256"}, **claims))
    assert (status, f"verdict: refused: {wrong}\n" in out) == (1, True)


def test_tells_what_is_wrong_with_the_header(gatewayd: Any) -> None:
    _, out, _ = gatewayd("token", "inspect", by_hand_token({"alg": "none"}))
    assert "refused: it is not signed" in out


def by_hand_token(header: dict[str, Any], **claims: Any) -> str:
    return by_hand(header, {"sub": "ada", "exp": 2_000_000_000} | claims).decode()


def test_a_token_does_nothing_to_the_terminal(gatewayd: Any) -> None:
    _, out, _ = gatewayd("token", "inspect", mint(name="\x1b[2Jx\r", **{"\x1b[1m": 1}))
    assert "\x1b" not in out
    assert "\r" not in out


def test_what_is_no_token(gatewayd: Any) -> None:
    status, _, err = gatewayd("token", "inspect", "nonsense")
    assert (status, err.startswith("no token")) == (1, True)


def test_makes_a_pair_of_keys(gatewayd: Any, tmp_path: Path) -> None:
    status, out, _ = gatewayd("crypto", "rsa-keypair", "--out", "mine", "--bits", "2048")
    private, public = tmp_path / "mine.pem", tmp_path / "mine.pub.pem"
    assert (status, out.split()) == (0, ["mine.pem", "mine.pub.pem"])
    assert load_private_key(private).public_key() == load_public_key(public)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) & 0o400


def test_tells_programs_where_the_keys_are(gatewayd: Any) -> None:
    _, out, _ = gatewayd("crypto", "rsa-keypair", "--bits", "2048", "--json")
    assert json.loads(out) == {"private_key": "jwt.pem", "public_key": "jwt.pub.pem"}


@pytest.mark.parametrize("out", [".", "nowhere/jwt"])
def test_where_keys_cannot_be_written(gatewayd: Any, out: str) -> None:
    status, _, err = gatewayd("crypto", "rsa-keypair", "--bits", "2048", "--out", out)
    assert (status, "Traceback" in err) == (1, False)


def test_a_private_key_may_have_a_passphrase(
    gatewayd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_PASSPHRASE", "open sesame")
    gatewayd("crypto", "rsa-keypair", "--bits", "2048")
    assert load_private_key(tmp_path / "jwt.pem", "open sesame")
    with pytest.raises(ValueError, match="passphrase"):
        load_private_key(tmp_path / "jwt.pem")


def test_keys_are_never_replaced(gatewayd: Any, tmp_path: Path) -> None:
    (tmp_path / "jwt.pub.pem").write_text("in use")
    status, _, err = gatewayd("crypto", "rsa-keypair", "--bits", "2048")
    assert (status, "is there already" in err) == (1, True)
    assert not (tmp_path / "jwt.pem").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "rule"),
    [
        (["/servers", "--role", "operator"], 0,
         "servers:write by servers:* of role operator"),
        (["/servers", "--role", "viewer"], 1, "not the permission servers:write"),
        (["/servers", "--permission", "servers:*"], 0, "servers:write of the caller's own"),
        (["/servers"], 1, "not authenticated; the route does not say auth_required = false"),
        (["/open"], 0, "auth_required = false"),
        (["/silent", "--principal", "ada"], 1,
         "the route does not say who may use it, and the default is deny"),
    ],
)  # fmt: skip
def test_tells_which_rule_decides(
    gatewayd: Any, config: str, arguments: list[str], status: int, rule: str
) -> None:
    found, out, _ = gatewayd("rbac", "explain", "GET", *arguments, "-c", config, "--json")
    (decision,) = json.loads(out)["decisions"]
    assert (found, decision["rule"]) == (status, rule)


def test_tells_where_the_requirement_stands(gatewayd: Any, config: str) -> None:
    _, out, _ = gatewayd("rbac", "explain", "GET", "/servers", "--role", "x", "-c", config)
    line = CONFIG.splitlines().index('permissions = ["servers:write"]') + 1
    assert f"required_permissions = ['servers:write'] ({config}:{line})" in out


def test_tells_where_the_roles_of_the_caller_stand(gatewayd: Any, config: str) -> None:
    arguments = ["--role", "operator", "--role", "unknown"]
    _, out, _ = gatewayd("rbac", "explain", "GET", "/servers", *arguments, "-c", config)
    line = next(n for n, text in enumerate(CONFIG.splitlines(), 1) if text.startswith("operator"))
    assert f"role operator: {config}:{line}" in out
    assert "role unknown: not defined" in out


@pytest.mark.parametrize("path", ["/nowhere", "/moved"])
def test_where_nothing_decides(gatewayd: Any, config: str, path: str) -> None:
    assert gatewayd("rbac", "explain", "GET", path, "-c", config)[0] == 1


async def trail(folder: Path) -> list[str]:
    """Return what was done, from the audit trail."""
    async with opened_store(StoreConfig(url=f"sqlite:///{folder}/gatewayd.db")) as store:
        return [row["action"] for row in await store.audit_logs.recent()]


async def revoked(folder: Path, at: int = 0) -> set[str]:
    store = Store(StoreConfig(url=f"sqlite:///{folder}/gatewayd.db"))
    try:
        await store.start()
        return await store.revoked_tokens.active(at)
    finally:
        await store.close()


REVOKING = {
    "token": ([mint(jti="one")], "2033-05-18T03:33:20Z"),
    "long-lived": ([mint(jti="one", exp=4_000_000_000)], "2096-10-02T07:06:40Z"),
    "beyond what gateways take": ([mint(jti="one", exp=1e300)], "9999-12-31T23:59:59Z"),
    "id alone": (["--jti", "one"], "9999-12-31T23:59:59Z"),
    "id that lasts for ever": (["--jti", "one", "--lasts", "9" * 20], "9999-12-31T23:59:59Z"),
}


def test_no_token_outlives_what_revokes_it() -> None:
    """The filter has its bound for itself: it may import nothing of the command line's."""
    assert token_revoke._LAST_SECOND == claims._LAST_SECOND


@pytest.mark.parametrize(("arguments", "until"), REVOKING.values(), ids=REVOKING)
def test_revokes_a_token(gatewayd: Any, tmp_path: Path, arguments: list[str], until: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f'store.url = "sqlite:///{tmp_path}/gatewayd.db"\n{CONFIG}')
    status, out, _ = gatewayd("token", "revoke", *arguments, "-c", str(file))
    assert (status, out) == (0, f"token one is revoked until {until}\n")
    last_moment = int(datetime.fromisoformat(until).timestamp() - 1) * 1_000_000
    assert asyncio.run(revoked(tmp_path, last_moment)) == {"one"}


def test_a_token_is_revoked_where_old_ones_cannot_be_forgotten(
    gatewayd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f'store.url = "sqlite:///{tmp_path}/gatewayd.db"\n')

    async def purge(*_: object) -> int:
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(RevokedTokens, "purge", purge)
    status, out, err = gatewayd("token", "revoke", "--jti", "one", "-c", str(file))
    assert (status, out[:20]) == (0, "token one is revoked")
    assert "expired ones are not forgotten: no answer" in err
    assert asyncio.run(trail(tmp_path)) == ["token.revoke"]


@pytest.mark.parametrize("lasts", ["0", "-60"])
def test_nothing_is_revoked_until_a_time_that_has_passed(
    gatewayd: Any, config: str, lasts: str
) -> None:
    assert gatewayd("token", "revoke", "--jti", "one", "--lasts", lasts, "-c", config)[0] == 2


def test_an_id_that_lasts_is_revoked_for_as_long(gatewayd: Any, tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f'store.url = "sqlite:///{tmp_path}/gatewayd.db"\n{CONFIG}')
    gatewayd("token", "revoke", "--jti", "one", "--lasts", "3600", "-c", str(file))
    now = time.time()
    assert asyncio.run(revoked(tmp_path, int((now + 3000) * 1e6))) == {"one"}
    assert asyncio.run(revoked(tmp_path, int((now + 3600) * 1e6))) == set()


def test_revokes_what_comes_in(
    gatewayd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f'store.url = "sqlite:///{tmp_path}/gatewayd.db"\n{CONFIG}')
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"Bearer {mint(jti='one')}\n"))
    assert gatewayd("token", "revoke", "-", "-c", str(file))[0] == 0
    assert asyncio.run(revoked(tmp_path)) == {"one"}


@pytest.mark.parametrize("token", ["nonsense", mint(), mint(jti=7), mint(jti="a", exp=-1)])
def test_what_cannot_be_revoked(gatewayd: Any, config: str, token: str) -> None:
    assert gatewayd("token", "revoke", token, "-c", config)[0] == 1


LONG_IDS = ["a" * 254 + " ", "a" * 254 + "\\", "a" * 256]


@pytest.mark.parametrize("jti", LONG_IDS, ids=["space", "backslash", "256"])
def test_an_id_of_any_length_is_revoked_with_sqlite(
    gatewayd: Any, tmp_path: Path, jti: str
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f'store.url = "sqlite:///{tmp_path}/gatewayd.db"\n{CONFIG}')
    assert gatewayd("token", "revoke", mint(jti=jti), "-c", str(file))[0] == 0
    assert asyncio.run(revoked(tmp_path)) == {jti}


def test_an_id_that_the_database_has_no_room_for(gatewayd: Any, tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    with MariaDb(tmp_path) as server:
        file.write_text(f'store.url = "{server.url("gateway_ids")}"\n{CONFIG}')
        assert gatewayd("init-db", "-c", str(file))[0] == 0
        told = [gatewayd("token", "revoke", mint(jti=jti), "-c", str(file)) for jti in LONG_IDS]
        fits = gatewayd("token", "revoke", "--jti", "a" * 253 + " ", "-c", str(file))
    for (status, _, err), jti in zip(told, LONG_IDS, strict=True):
        assert status == 1
        assert "255 characters, or 254 where it ends with a space or a backslash" in err
        assert err.endswith(f"this one has {len(jti)}\n")
    assert fits[0] == 0
