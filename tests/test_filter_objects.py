from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import pytest
from pydantic import model_validator

from gatewayd import (
    Filter,
    GatewayError,
)
from tests.support.pipelines import (
    Tag,
    TagConfig,
    compiled,
    issues,
    route,
)

if TYPE_CHECKING:
    from gatewayd.pipeline import Pipeline


def test_a_constructor_that_refuses_its_settings_is_placed_where_they_stand() -> None:
    found = issues("match", "tag", "end", routes=[route("a"), route("b", tag={"fail": True})])
    assert found == ["routes[1].filters.tag.fail: cannot be used (do not fail)"]


def test_a_constructor_that_fails_is_an_error_and_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Faulty(Tag):
        name = "faulty"

        def __init__(self, config: TagConfig, gateway: Any) -> None:
            raise ZeroDivisionError

    found = issues("faulty", "end", plugins=[Faulty])
    assert found == ["filters.faulty: filter 'faulty' cannot be constructed: ZeroDivisionError()"]
    assert caplog.records[0].exc_info


class Unreadable(TagConfig):
    """Settings whose validator does not do what pydantic expects of it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.text == "none":
            return None  # type: ignore[return-value]  # forgotten, as it happens
        raise KeyError(self.text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("none", "a validator of its settings returned None"),
        ("secret", "a validator of its settings raised KeyError in "),
    ],
)
def test_a_validator_that_goes_wrong_is_an_error_that_names_the_filter(
    text: str, says: str
) -> None:
    unreadable = type("Faulty", (Tag,), {"name": "faulty", "Config": Unreadable})
    (found,) = issues("faulty", "end", plugins=[unreadable], filters={"faulty": {"text": text}})
    assert found.startswith(f"filters.faulty: filter 'faulty': {says}")
    assert "secret" not in found


class Lifecycle:
    """Filters that note when they start and close; those that are told to fail at it."""

    def __init__(self, **failing: str) -> None:
        self.events: list[str] = []
        self.classes = [self._make(name, failing.get(name, "")) for name in ("one", "two", "three")]

    def _make(self, called: str, failing: str) -> type[Filter[Any]]:
        events = self.events

        class Noting(Tag):
            name = called

            async def start(self) -> None:
                events.append(f"start {called}")
                await self._fail(failing, "start")

            async def close(self) -> None:
                events.append(f"close {called}")
                await self._fail(failing, "close")

            async def _fail(self, how: str, at: str) -> None:
                if how == at:
                    raise OSError("no redis")
                if how == f"{at} exits":
                    raise SystemExit(3)
                if how == f"{at} awaits a cancelled task":
                    task = asyncio.create_task(asyncio.Event().wait())
                    task.cancel()
                    await task
                if how == f"{at} waits":
                    await asyncio.Event().wait()

        return Noting

    def pipeline(self) -> Pipeline:
        return compiled("one", "two", "three", "end", plugins=self.classes)


STARTED = ["start one", "start two", "start three"]
CLOSED = ["close three", "close two", "close one"]


async def test_filters_start_in_order_and_close_in_reverse_once() -> None:
    lifecycle = Lifecycle()
    pipeline = lifecycle.pipeline()
    assert lifecycle.events == []
    await pipeline.start()
    await pipeline.close()
    await pipeline.close()
    assert lifecycle.events == STARTED + CLOSED


@pytest.mark.parametrize(
    ("failing", "says"),
    [
        ("start", r"OSError\('no redis'\)"),
        ("start exits", r"SystemExit\(3\)"),
        ("start awaits a cancelled task", r"CancelledError\(\)"),
        ("start waits", r"TimeoutError\(\) \(not within 0.05 s\)"),
    ],
)
async def test_a_filter_that_does_not_start_is_named_and_those_before_it_are_closed(
    failing: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayd.filter_objects.START_SECONDS", 0.05)
    lifecycle = Lifecycle(two=failing)
    with pytest.raises(GatewayError, match=f"filter 'two' failed to start: {says}"):
        await lifecycle.pipeline().start()
    assert lifecycle.events == ["start one", "start two", "close two", "close one"]


@pytest.mark.parametrize(
    "failing", ["close", "close exits", "close awaits a cancelled task", "close waits"]
)
async def test_a_filter_that_does_not_close_is_logged_and_the_others_are_closed(
    failing: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayd.filter_objects.CLOSE_SECONDS", 0.05)
    lifecycle = Lifecycle(two=failing)
    pipeline = lifecycle.pipeline()
    await pipeline.start()
    await pipeline.close()
    assert lifecycle.events == STARTED + CLOSED
    assert [record.message for record in caplog.records] == ["filter two failed to close"]
