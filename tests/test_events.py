from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayd import Events

if TYPE_CHECKING:
    import pytest


@dataclass(frozen=True)
class Opened:
    door: str


def test_listeners_hear_events_of_their_class() -> None:
    events = Events()
    opened: list[Opened] = []
    others: list[str] = []
    events.listen(Opened, opened.append)
    events.listen(str, others.append)
    events.publish(Opened("front"))
    assert (opened, others) == ([Opened("front")], [])


def test_a_listener_that_is_forgotten_hears_no_more() -> None:
    events = Events()
    heard: list[Opened] = []
    events.listen(Opened, heard.append)
    events.forget(Opened, heard.append)
    events.publish(Opened("front"))
    assert heard == []


def test_a_faulty_listener_is_logged_and_the_others_hear(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: Opened) -> None:
        raise RuntimeError("deaf")

    events = Events()
    heard: list[Opened] = []
    events.listen(Opened, fail)
    events.listen(Opened, heard.append)
    with caplog.at_level(logging.ERROR, "gatewayd.events"):
        events.publish(Opened("front"))
    assert heard == [Opened("front")]
    assert "a listener for Opened(door='front') failed" in caplog.text
