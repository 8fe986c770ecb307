"""Header fields by which an operator asks for something special."""

from __future__ import annotations

import pytest

from gatewayd import check_header, sign_header

KEY = b"a key of an operator"
NOW = 1_800_000_000.0
GOOD = sign_header(KEY, "trace", int(NOW) + 60)


def test_accepts_what_was_signed() -> None:
    assert check_header(KEY, "trace", GOOD.encode(), NOW)


@pytest.mark.parametrize(
    ("purpose", "value", "now"),
    [
        pytest.param("trace", GOOD, NOW + 60, id="expired"),
        pytest.param("explain", GOOD, NOW, id="for something else"),
        pytest.param("trace", sign_header(b"another key, not ours", "trace", int(NOW) + 60), NOW,
                     id="another key"),
        pytest.param("trace", sign_header(KEY, "trace", int(NOW) + 100_000), NOW, id="too long"),
        pytest.param("trace", GOOD.replace("18", "19", 1), NOW, id="another expiry"),
        pytest.param("trace", GOOD[:-1], NOW, id="truncated"),
        pytest.param("trace", GOOD + "A", NOW, id="longer"),
        pytest.param("trace", "", NOW, id="empty"),
        pytest.param("trace", "9" * 5000 + "." + "A" * 43, NOW, id="a huge number"),
        pytest.param("trace", GOOD + ", " + GOOD, NOW, id="twice"),
    ],
)  # fmt: skip
def test_refuses_what_was_not(purpose: str, value: str, now: float) -> None:
    assert not check_header(KEY, purpose, value.encode(), now)
