"""Traffic of all kinds leaves nothing behind: no task, no connection, no open file."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.integration.configuration import config_for
from tests.integration.mixed_clients import run_clients
from tests.integration.mixed_origin import mixed_origin
from tests.support.in_process import serving
from tests.support.proc import open_files
from tests.support.raw import until
from tests.support.servers import GatewayProcess

if TYPE_CHECKING:
    from pathlib import Path

CONNECTIONS = 64
UNWANTED = re.compile("ERROR|Traceback|never retrieved|destroyed")
DURATIONS = pytest.mark.parametrize(
    "seconds", [5, pytest.param(60, marks=pytest.mark.slow)], ids=["5 s", "60 s"]
)


@DURATIONS
@pytest.mark.usefixtures("calm_loop")
async def test_tasks_and_connections_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seconds: int
) -> None:
    async with mixed_origin() as origin, serving(config_for(origin.port), tmp_path) as gateway:
        tasks = asyncio.all_tasks()
        files = open_files(os.getpid())
        await run_clients(gateway.port, CONNECTIONS, seconds)
        await until(lambda: gateway.server.open_connections == 0)
        (instance,) = gateway.generations.current.services["origin"].instances.values()
        await until(lambda: instance.active == 0)  # all connections to the origin are idle
        await until(lambda: origin.connections == 0)  # and have had their time
        assert len(gateway.sweeper) == 0
        assert gateway.server.in_flight == gateway.generations.current.in_flight == 0
        await until(lambda: asyncio.all_tasks() == tasks)
        await until(lambda: open_files(os.getpid()) == files)
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [error.getMessage() for error in errors if error.name != "origin"] == []


@DURATIONS
async def test_a_worker_has_the_files_that_it_had_before(tmp_path: Path, seconds: int) -> None:
    async with mixed_origin() as origin:
        config = config_for(origin.port, workers=2)
        with GatewayProcess(config, tmp_path) as gateway:
            gateway.wait_for_log("listening on")
            workers = gateway.worker_pids
            files = [open_files(pid) for pid in workers]
            await run_clients(gateway.port, CONNECTIONS, seconds)
            await until(lambda: origin.connections == 0)
            await until(lambda: [open_files(pid) for pid in workers] == files)
            assert gateway.worker_pids == workers
        assert [line for line in gateway.log.splitlines() if UNWANTED.search(line)] == []
