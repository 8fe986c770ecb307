"""What holds for every test: async tests run on uvloop and leave no task behind."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

import pytest
import uvloop
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

ENDING_SECONDS = 1.0
"""Time for a task whose end is under way, as when its peer has just closed their connection."""

# The same examples in each run, however slow the machine is: a red run can be repeated.
settings.register_profile("gatewayd", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("gatewayd")


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run async tests on the event loop that gatewayd serves with."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def _no_task_is_left(request: pytest.FixtureRequest) -> None:
    """Check each async test for tasks that outlive it.

    Autouse fixtures are set up first, so this one ends after the test's others have closed what
    they opened. A synchronous test gets no event loop just to be checked.
    """
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("_task_check")


@pytest.fixture
async def _task_check() -> AsyncIterator[None]:
    before = asyncio.all_tasks()  # of fixtures that several tests share
    yield
    tasks = asyncio.all_tasks() - before - {asyncio.current_task()}
    if tasks:
        _, tasks = await asyncio.wait(tasks, timeout=ENDING_SECONDS)
    if tasks:
        leaked = "\n".join(repr(task) for task in tasks)
        pytest.fail(f"tasks that are still pending after the test:\n{leaked}", pytrace=False)
