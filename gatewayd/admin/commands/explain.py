"""What would become of a described request, or what does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gatewayd.errors import Reject
from gatewayd.exchange import Exchange
from gatewayd.observation import Observation
from gatewayd.server.entry import make_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayd.admin.commands import Commands

_CLIENT = "127.0.0.1"


async def explain(commands: Commands, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Explain a described request: by the rules alone, or by sending it."""
    method, target = str(arguments["method"]), str(arguments["target"])
    fields = [("Host", str(arguments["host"]))]
    fields += [(str(name), str(value)) for name, value in arguments["headers"].items()]
    if arguments["send"]:
        return await _send(commands, method, target, fields)
    from gatewayd.explain.dry_run import explain as dry_run  # here: few ask

    # In a thread: all routes are gone through, of which there may be ten thousand.
    generation = commands.generations.current
    return await asyncio.to_thread(dry_run, generation, method, target, fields)


async def _send(
    commands: Commands, method: str, target: str, fields: list[tuple[str, str]]
) -> dict[str, Any]:
    """Run a request through the pipeline as if it had come from this machine."""
    generation = commands.generations.current
    entry, gateway = generation.entry, generation.gateway
    raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in fields]
    try:
        line = entry.request_line(f"{method} {target} HTTP/1.1".encode("ascii"))
        checked = entry.check(raw, line.version, entry.peer(_CLIENT, 0, "http", None))
        request = make_request(line, checked)
    except Reject as reject:
        refusal = {"status": reject.status, "code": reject.code, "detail": reject.detail}
        return {"refusal": refusal}
    exchange = Exchange(request, received_at=gateway.clock())
    exchange.observation = Observation(detailed=True)
    generation.in_flight += 1
    try:
        response = await generation.pipeline(exchange)
        await response.discard()
        record = gateway.explain(exchange)
        names = sorted({name.decode("latin-1").lower() for name, _ in response.headers.raw})
        return record | {"response": {"status": response.status, "headers": names}}
    finally:
        generation.in_flight -= 1
        exchange.finish()
        gateway.ended.add(exchange, None)
        if generation.retiring:
            generation.ended()
