"""Telling a task that was cancelled from one that awaited something else that was."""

from __future__ import annotations

import asyncio


def is_cancelled() -> bool:
    """Whether somebody has cancelled the running task, for an ``except CancelledError``.

    Where nobody has, a plugin has awaited a task that was cancelled, often by itself: a failure of
    its own, that must not end what runs it.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
