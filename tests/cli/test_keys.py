"""``gatewayd keys``, with the embedded database."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING
from unittest.mock import AsyncMock, Mock

import pytest

from gatewayd.cli.keys_create import _check_text
from gatewayd.errors import GatewayError
from gatewayd.store.api_keys import ApiKeys
from tests.support.process import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Run

    Command = Callable[..., Run]

KEY = re.compile(r"gw_[A-Za-z0-9]+_[A-Za-z0-9]+\n")


def create(run: Command, *arguments: str) -> tuple[str, str]:
    """Make a key; return it, and its id."""
    status, out, err = run("keys", "create", "--owner", "shop", *arguments)
    assert (status, err) == (0, "")
    assert KEY.fullmatch(out)
    return out.strip(), out.split("_")[1]


def test_a_key_is_shown_once(run: Command, tmp_path: Path) -> None:
    key, key_id = create(run, "--name", "import")
    secret = key.split("_")[2]
    for command in (("list",), ("list", "--json"), ("show", key_id), ("show", key_id, "--json")):
        assert secret not in run("keys", *command).out
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not [file for file in written if secret.encode() in file.read_bytes()]


def test_the_pepper_is_made_with_the_first_key_and_its_owners_only(
    run: Command, tmp_path: Path
) -> None:
    create(run)
    pepper = tmp_path / "var/api_key.pepper"
    assert pepper.stat().st_mode & 0o777 == 0o600
    content = pepper.read_bytes()
    create(run)
    assert pepper.read_bytes() == content


def test_everything_that_was_given_is_shown(run: Command) -> None:
    _, key_id = create(
        run, "--name", "import", "--role", "a", "--role", "b", "--permission", "orders:read",
        "--scope", "s", "--network", "10.1.2.3/8", "--rate-limit", "100/minute",
        "--expires", "2999-01-01",
    )  # fmt: skip
    shown = run("keys", "show", key_id, "--json").json()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown.pop("created"))
    assert shown == {
        "id": key_id,
        "owner": "shop",
        "name": "import",
        "roles": ["a", "b"],
        "permissions": ["orders:read"],
        "scopes": ["s"],
        "networks": ["10.0.0.0/8"],
        "rate_limit": "100/minute",
        "status": "active",
        "expires": "2999-01-01T00:00:00Z",
        "revoked": "",
        "last_used": "",
    }


def test_a_revoked_key_is_listed_only_where_that_is_asked(run: Command) -> None:
    _, key_id = create(run)
    _, other_id = create(run)
    assert run("keys", "revoke", key_id).out == f"API key {key_id} is revoked\n"
    assert [one["id"] for one in run("keys", "list", "--json").json()] == [other_id]
    everything = run("keys", "list", "--all", "--json").json()
    assert {one["id"]: one["status"] for one in everything} == {
        key_id: "revoked",
        other_id: "active",
    }


def test_keys_are_listed_by_owner(run: Command) -> None:
    create(run)
    other = run("keys", "create", "--owner", "billing").out.split("_")[1]
    listed = run("keys", "list", "--owner", "billing").out.splitlines()
    assert [line.split()[0] for line in listed] == ["id", other]


def by_hand(tmp_path: Path, statement: str, key_id: str) -> None:
    """Change the row of a key as with SQL by hand."""
    with closing(sqlite3.connect(tmp_path / "var/gatewayd.db")) as database, database:
        assert database.execute(f"{statement} WHERE id = ?", [key_id]).rowcount == 1


BROKEN = [
    ("roles = '[\"admin'", "roles is no JSON array of strings"),
    ("networks = '7'", "networks is no JSON array of strings"),
    ("expires_at = 'soon'", "expires_at is no integer"),
    ("hash = hash || 'secret'", "hash is not hexadecimal"),
]


@pytest.mark.parametrize(("change", "reason"), BROKEN)
def test_a_row_that_cannot_be_read_is_named(
    run: Command, tmp_path: Path, change: str, reason: str
) -> None:
    _, key_id = create(run)
    by_hand(tmp_path, f"UPDATE api_keys SET {change}", key_id)
    assert run("keys", "list").err == (
        f"the row of the API key {key_id!r} cannot be read: {reason}\n"
    )


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
def test_rows_that_cannot_be_read_keep_no_other_from_the_list(
    run: Command, tmp_path: Path, form: tuple[str, ...]
) -> None:
    ids = [create(run)[1] for _ in range(4)]
    for key_id in (ids[0], ids[2]):
        by_hand(tmp_path, "UPDATE api_keys SET roles = '['", key_id)
    status, out, err = run("keys", "list", *form)
    assert status == 3
    assert [key_id for key_id in ids if key_id in out] == [ids[1], ids[3]]
    assert [key_id for key_id in ids if key_id in err] == [ids[0], ids[2]]


def test_a_list_in_json_is_whole_where_no_row_can_be_read(run: Command, tmp_path: Path) -> None:
    by_hand(tmp_path, "UPDATE api_keys SET roles = '['", create(run)[1])
    assert json.loads(run("keys", "list", "--json").out) == []


def test_a_row_of_another_owner_is_not_named(run: Command, tmp_path: Path) -> None:
    by_hand(tmp_path, "UPDATE api_keys SET roles = '['", create(run)[1])
    assert run("keys", "list", "--owner", "billing", "--json").json() == []


@pytest.mark.parametrize("moment", [2**63 - 1, -(2**63), 253_402_300_800_000_000])
def test_a_moment_that_no_calendar_has_is_listed_as_it_is(
    run: Command, tmp_path: Path, moment: int
) -> None:
    _, key_id = create(run)
    by_hand(tmp_path, f"UPDATE api_keys SET created_at = {moment}", key_id)
    assert run("keys", "show", key_id, "--json").json()["created"] == str(moment)


def test_a_rotated_key_keeps_its_id_and_gets_another_secret(run: Command) -> None:
    key, key_id = create(run, "--role", "a")
    rotated = run("keys", "rotate", key_id).out.strip()
    assert rotated.split("_")[1] == key_id
    assert rotated != key
    assert run("keys", "show", key_id, "--json").json()["roles"] == ["a"]


def test_a_key_revoked_at_the_same_moment_gets_no_secret(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key_id = create(run)

    async def revoked_since(*_: object) -> bool:
        return False

    monkeypatch.setattr(ApiKeys, "replace_hash", revoked_since)
    status, out, err = run("keys", "rotate", key_id)
    assert (status, out, "is revoked" in err) == (1, "", True)


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 12345"), OSError("no")])
def test_a_user_without_a_name_changes_keys(
    run: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    monkeypatch.setattr("getpass.getuser", Mock(side_effect=error))
    monkeypatch.setattr("os.getuid", lambda: 12345)
    _, key_id = create(run)
    assert KEY.fullmatch(run("keys", "rotate", key_id).out)
    with closing(sqlite3.connect(tmp_path / "var/gatewayd.db")) as database:
        actors = database.execute("SELECT action, actor FROM audit_logs ORDER BY id").fetchall()
    assert actors == [
        ("key.create", "uid 12345 (command line)"),
        ("key.rotate", "uid 12345 (command line)"),
    ]


@pytest.mark.parametrize("command", ["create", "rotate"])
def test_a_secret_is_shown_whatever_fails_afterwards(
    run: Command, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    _, key_id = create(run)
    monkeypatch.setattr("gatewayd.cli.changes.record_now", AsyncMock(side_effect=RuntimeError()))
    given = ("rotate", key_id) if command == "rotate" else ("create", "--owner", "shop")
    status, out, err = run("keys", *given)
    assert (status, bool(KEY.fullmatch(out))) == (0, True)
    assert err == "warning: the audit trail cannot be written: RuntimeError()\n"


def test_a_secret_is_shown_before_anybody_is_told(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayd.cli.keys.Keys.changed", AsyncMock(side_effect=GatewayError("x")))
    status, out, _ = run("keys", "create", "--owner", "shop")
    assert (status, bool(KEY.fullmatch(out))) == (1, True)


def test_a_redis_that_is_away_is_a_warning(run: Command, tmp_path: Path) -> None:
    config = tmp_path / "conf/gateway.toml"
    config.write_text(f'redis.url = "redis://127.0.0.1:{free_port()}"\n{config.read_text()}')
    status, out, err = run("keys", "create", "--owner", "shop")
    assert (status, bool(KEY.fullmatch(out))) == (0, True)
    assert err.startswith("warning: Redis cannot be told, allow 10 seconds for it: ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "nosuchkey"), "there is no API key 'nosuchkey'"),
        (("revoke", "nosuchkey"), "there is no API key 'nosuchkey'"),
        (("rotate", "nosuchkey"), "there is no API key 'nosuchkey'"),
    ],
)
def test_what_is_not_there(run: Command, arguments: tuple[str, ...], says: str) -> None:
    status, _, err = run("keys", *arguments)
    assert (status, err) == (1, f"{says}\n")


@pytest.mark.parametrize("command", ["revoke", "rotate"])
def test_a_revoked_key_stays_revoked(run: Command, command: str) -> None:
    _, key_id = create(run)
    run("keys", "revoke", key_id)
    status, out, err = run("keys", command, key_id)
    assert (status, out) == (1, "")
    assert "revoked" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--owner", ""),
        ("--owner", "a\nb"),
        ("--owner", "a "),
        ("--owner", " a"),
        ("--owner", "a", "--name", "a "),
        ("--owner", "a", "--role", "two words"),
        ("--owner", "a", "--network", "10.0.0.0/33"),
        ("--owner", "a", "--rate-limit", "fast"),
        ("--owner", "a", "--rate-limit", "0/minute"),
        ("--owner", "a", "--rate-limit", "10/second burst 0"),
        ("--owner", "a", "--rate-limit", "1" * 400),
        ("--owner", "a", "--expires", "soon"),
        ("--owner", "a", "--expires", "2001-01-01"),
        (),
    ],
)
def test_bad_arguments_make_no_key(run: Command, arguments: tuple[str, ...]) -> None:
    assert run("keys", "create", *arguments).status != 0
    assert run("keys", "list", "--json").json() == []


def test_an_owner_is_utf8() -> None:
    # Not by the command: pytest cannot capture what it says.
    with pytest.raises(ValueError, match="expected 1 to 255 characters"):
        _check_text(str, "a\udcff")


def test_a_weak_pepper_makes_no_key_and_is_not_shown(run: Command, tmp_path: Path) -> None:
    config = tmp_path / "conf/gateway.toml"
    text = config.read_text().replace('"route_match",', '"route_match", "auth",', 1)
    config.write_text(f'{text}\n[filters.auth.api_key]\npepper = "too-weak"\n')
    status, out, err = run("keys", "create", "--owner", "shop")
    assert (status, out) == (1, "")
    assert "filters.auth.api_key" in err
    assert "too-weak" not in err
