"""Which source a key of a merged configuration comes from."""

from __future__ import annotations

import pickle

import pytest

from gatewayd.config.places import KeyPath, Origins, Source, dotted

FILE = Source("a.toml", find_lines=lambda: {("server",): 3, ("server", "port"): 4})
OTHER = Source("b.toml", find_lines=lambda: {("routes", 0): 7})
VARIABLE = Source("environment variable X")


def origins() -> Origins:
    found = Origins()
    found.set(("server",), FILE, ("server",))
    found.set(("routes", 5), OTHER, ("routes", 0))
    found.set(("routes", 5, "filters", "limit", "rate"), OTHER, ("routes", 0, "rate_limit"))
    return found


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("server", "port"), ("a.toml", 4)),
        (("server", "host"), ("a.toml", 3)),
        (("routes", 5, "path"), ("b.toml", 7)),
        (("routes", 4), ("", 0)),
        ((), ("", 0)),
    ],
)
def test_where(path: KeyPath, expected: tuple[str, int]) -> None:
    assert origins().where(path) == expected


def test_what_is_replaced_takes_all_below_with_it() -> None:
    found = origins()
    found.replace(("routes", 5), VARIABLE)
    assert found.where(("routes", 5, "filters", "limit", "rate")) == (VARIABLE.name, 0)


@pytest.mark.parametrize(
    ("path", "is_secret", "near"),
    [
        (("routes", 5, "rate_limit"), True, True),
        (("routes", 5, "rate_limit", "x"), True, True),
        (("routes", 5, "filters", "limit", "rate"), True, True),
        (("routes", 5, "filters", "limit"), False, True),
        (("routes", 5), False, True),
        ((), False, True),
        (("routes", 5, "path"), False, False),
        (("server",), False, False),
    ],
)
def test_secrets_and_what_is_around_them(path: KeyPath, is_secret: bool, near: bool) -> None:
    source = Source("b.toml")
    source.secret.add(("routes", 0, "rate_limit"))
    found = origins()
    found.set(("routes", 5), source, ("routes", 0))
    found.set(("routes", 5, "filters", "limit", "rate"), source, ("routes", 0, "rate_limit"))
    assert (found.is_secret(path), found.near_secret(path)) == (is_secret, near)


def test_dotted() -> None:
    assert dotted(("routes", 2, "filters", "limit")) == "routes[2].filters.limit"


def test_another_process_gets_the_lines() -> None:
    found = pickle.loads(pickle.dumps(origins()))
    assert found.where(("server", "port")) == ("a.toml", 4)
