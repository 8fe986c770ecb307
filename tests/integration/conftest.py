"""What several of these tests need."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def calm_loop() -> AsyncIterator[None]:
    """Check that the event loop has nothing to complain of.

    It complains of a task that is garbage before it has ended, for one: such a task is no longer in
    `asyncio.all_tasks()`, and yet what it waited for has never come.
    """
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: complaints.append(context["message"])
    )
    yield
    gc.collect()
    assert complaints == []
