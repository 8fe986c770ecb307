"""What ``make run`` runs: the gateway with its default configuration, and the origins behind it.

The addresses are those of ``conf/gateway.toml``. Everything ends with ctrl-C, or as soon as one of
the processes does.
"""
# ruff: noqa: T201  # a program that talks to whoever started it

from __future__ import annotations

import asyncio
import signal
import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

REPOSITORY = Path(__file__).parents[1]
CONFIG = REPOSITORY / "conf" / "gateway.toml"
ORIGIN = REPOSITORY / "scripts" / "sample_origin.py"

START_SECONDS = 20.0
STOP_SECONDS = 10.0

HINT = """
gatewayd listens on {gateway} in front of two sample origins. Try:

  curl '{gateway}/demo/hello?name=you'
  curl -X POST -d 'some data' {gateway}/demo/items/42
  curl -i {gateway}/health

Ctrl-C ends it all.
"""


async def main() -> int:
    """Start everything, say what to try, wait for the end, and return the exit status."""
    gateway_port, origin_ports = configured_ports()
    ports = [gateway_port, *origin_ports]
    taken = [port for port in ports if await accepts(port)]
    if taken:
        print(f"error: another program listens on port {taken[0]}; end it first", file=sys.stderr)
        return 1
    signalled = asyncio.create_task(termination())
    children = [
        *[await start(ORIGIN, f"origin-{port}", port) for port in origin_ports],
        await start("-m", "gatewayd", "serve", "-c", CONFIG),
    ]
    ended = {signalled, *(asyncio.create_task(child.wait()) for child in children)}
    ready = asyncio.create_task(all_accept(ports))
    await asyncio.wait({ready, *ended}, timeout=START_SECONDS, return_when="FIRST_COMPLETED")
    if ready.done():
        print(HINT.format(gateway=f"http://127.0.0.1:{gateway_port}"), flush=True)
        await asyncio.wait(ended, return_when="FIRST_COMPLETED")
    asked_to_end = signalled.done()
    await asyncio.gather(*map(stop, children))
    if asked_to_end:
        return 0
    print("error: not started, or one of the processes ended by itself", file=sys.stderr)
    return 1


def configured_ports() -> tuple[int, list[int]]:
    """Return the gateway's port and those of the demo service's instances."""
    config = tomllib.loads(CONFIG.read_text())
    instances = config["services"]["demo"]["instances"]
    return config["server"]["port"], [int(urlsplit(each["url"]).port or 80) for each in instances]


async def termination() -> None:
    """Return at the first SIGINT or SIGTERM; more of them change nothing."""
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    await asked.wait()


async def start(*arguments: object) -> asyncio.subprocess.Process:
    """Start Python in a session of its own: a terminal's ctrl-C is for this process alone."""
    command = [sys.executable, *map(str, arguments)]
    return await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
    )


async def stop(child: asyncio.subprocess.Process) -> None:
    """End a process with SIGTERM, and with SIGKILL if it takes too long."""
    with suppress(ProcessLookupError):
        child.terminate()
    try:
        await asyncio.wait_for(child.wait(), STOP_SECONDS)
    except TimeoutError:
        child.kill()
        await child.wait()


async def all_accept(ports: list[int]) -> None:
    """Return once all of these ports accept connections."""
    while not all([await accepts(port) for port in ports]):  # noqa: ASYNC110  # other processes set no event
        await asyncio.sleep(0.05)


async def accepts(port: int) -> bool:
    """Tell whether something on this machine accepts connections on a port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
