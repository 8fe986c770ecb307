"""``gatewayd keys create``: make an API key, and show it this once."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import Parameter

from gatewayd.cli.keys import now, opened, print_new
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption, JsonOption
from gatewayd.crypto import hash_api_key, join_api_key, new_api_key
from gatewayd.store.records import ApiKeyRecord

if TYPE_CHECKING:
    from pathlib import Path

_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_RATE = re.compile(rf"({_NUMBER})(?:/(?:second|minute|hour|day))?(?: burst ({_NUMBER}))?")
_HIGHEST_RATE = 1e12  # as token_bucket has it, which passes over a limit that it cannot use
_TEXT = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,255}")  # surrogates: what is not UTF-8
_WORD = re.compile(r"[!-~]{1,255}")


def _check_text(_type: object, text: str | None) -> None:
    if text is not None and (not _TEXT.fullmatch(text) or text != text.strip()):
        # An owner with a space at its end is another one, and looks the same.
        raise ValueError("expected 1 to 255 characters, no control characters, no space at an end")


def _check_words(_type: object, words: tuple[str, ...]) -> None:
    if not all(map(_WORD.fullmatch, words)):
        raise ValueError("expected printable ASCII without spaces")


def _check_networks(_type: object, networks: tuple[str, ...]) -> None:
    for network in networks:
        ip_network(network, strict=False)  # its ValueError says what is wrong


def _check_rate(_type: object, rate: str | None) -> None:
    if rate is None:
        return
    found = _RATE.fullmatch(rate)
    if found is None or not all(0 < float(one) <= _HIGHEST_RATE for one in found.groups("1")):
        raise ValueError("expected a rate such as 100/minute or '10/second burst 50'")


def _check_expiry(_type: object, expiry: str | None) -> None:
    if expiry is not None and moment_of(expiry) <= now():
        raise ValueError("is in the past")


_OWNER = Parameter(help="Who the key stands for; the id of the principal.", validator=_check_text)
_NAME = Parameter(name="--name", help="What the key is for.", validator=_check_text)
_ROLE = Parameter(name="--role", negative=(), help="A role; repeatable.", validator=_check_words)
_PERMISSION = Parameter(
    name="--permission",
    negative=(),
    help="A permission, as resource:action; repeatable.",
    validator=_check_words,
)
_SCOPE = Parameter(name="--scope", negative=(), help="A scope; repeatable.", validator=_check_words)
_NETWORK = Parameter(
    name="--network",
    negative=(),
    help="A network from which the key may be used, instead of all; repeatable.",
    validator=_check_networks,
)
_LIMIT = Parameter(help="Rate limit of this key's own, as 100/minute.", validator=_check_rate)
_EXPIRES = Parameter(
    help="When it expires: after 90d, 12h, ..., or at an ISO 8601 date or time; UTC where it says "
    "nothing else.",
    validator=_check_expiry,
)
Words: TypeAlias = tuple[str, ...]


def keys_create(
    *,
    owner: Annotated[str, _OWNER],
    name: Annotated[str | None, _NAME] = None,
    roles: Annotated[Words, _ROLE] = (),
    permissions: Annotated[Words, _PERMISSION] = (),
    scopes: Annotated[Words, _SCOPE] = (),
    networks: Annotated[Words, _NETWORK] = (),
    rate_limit: Annotated[str | None, _LIMIT] = None,
    expires: Annotated[str | None, _EXPIRES] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    env: EnvOption = None,
    json: JsonOption = False,
) -> None:
    """Make a key and print it."""
    key_id, secret, _ = new_api_key()
    record = ApiKeyRecord(
        id=key_id,
        hash=b"",
        owner=owner,
        name=name or "",
        roles=frozenset(roles),
        permissions=frozenset(permissions),
        scopes=frozenset(scopes),
        networks=tuple(str(ip_network(one, strict=False)) for one in networks),
        rate_limit=rate_limit,
        created_at=now(),
        expires_at=None if expires is None else moment_of(expires),
        revoked_at=None,
        last_used_at=None,
        version=0,
    )
    asyncio.run(_create(config, env, record, secret, json=json))


async def _create(
    config: Path, env: str | None, record: ApiKeyRecord, secret: str, *, json: bool
) -> None:
    async with opened(config, env) as keys:
        hashed = hash_api_key(secret, keys.pepper())
        await keys.table.create(replace(record, hash=hashed))
        print_new(join_api_key(record.id, secret), record, json=json)
        await keys.changed("create", record.id, record.owner)


def moment_of(expiry: str) -> int:
    """Return when something expires, in microseconds of the Unix clock.

    Raises:
        ValueError: the text says no time.

    """
    if match := _DURATION.fullmatch(expiry):
        return now() + int(match[1]) * _SECONDS[match[2]] * 1_000_000
    try:
        moment = datetime.fromisoformat(expiry)
    except ValueError:
        raise ValueError("expected 90d, 12h, or an ISO 8601 date or time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1e6)
