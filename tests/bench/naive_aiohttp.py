"""The proxy that anybody would write first with aiohttp, as a measure of what ours gains.

Usage: ``python naive_aiohttp.py PORT ORIGIN_PORT...``
"""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING

import aiohttp
import uvloop
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade",
}  # fmt: skip


def proxy(origin_ports: list[int]) -> web.Application:
    """Return an application that forwards every request to the origins in turn."""
    origins = itertools.cycle(f"http://127.0.0.1:{port}" for port in origin_ports)
    session_key = web.AppKey("session", aiohttp.ClientSession)

    async def own_session(app: web.Application) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as app[session_key]:
            yield

    async def forward(request: web.Request) -> web.StreamResponse:
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP
        }
        headers["X-Forwarded-For"] = request.remote or ""
        headers["X-Forwarded-Proto"] = request.scheme
        headers["X-Forwarded-Host"] = request.host
        headers["X-Real-IP"] = request.remote or ""
        headers["Via"] = "1.1 naive"
        async with request.app[session_key].request(
            request.method,
            next(origins) + request.raw_path,
            headers=headers,
            data=request.content if request.can_read_body else None,
            allow_redirects=False,
        ) as upstream:
            response = web.StreamResponse(status=upstream.status)
            for name, value in upstream.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    response.headers.add(name, value)
            await response.prepare(request)
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    app = web.Application()
    app.cleanup_ctx.append(own_session)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


if __name__ == "__main__":
    listen, *origin_list = map(int, sys.argv[1:])
    web.run_app(
        proxy(origin_list),
        host="127.0.0.1",
        port=listen,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )
