from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gatewayd.http_date import HttpDate

if TYPE_CHECKING:
    import pytest


def test_the_date_is_formatted_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 784111777.2
    monkeypatch.setattr(time, "time", lambda: now)
    date = HttpDate()
    first = date()
    assert first == b"Sun, 06 Nov 1994 08:49:37 GMT"
    now += 0.7
    assert date() is first
    now += 0.2
    assert date() == b"Sun, 06 Nov 1994 08:49:38 GMT"
