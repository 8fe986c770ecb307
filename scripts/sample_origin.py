"""A sample origin: answers every request with what it received, as JSON.

Usage: ``python sample_origin.py NAME PORT``
"""

from __future__ import annotations

import json
import sys

from aiohttp import web


async def echo(request: web.Request) -> web.Response:
    """Tell method, path, header fields and body of a request, and which instance got it."""
    received = {
        "instance": request.app[INSTANCE],
        "method": request.method,
        "path": request.raw_path,
        "headers": dict(request.headers),
        "body": (await request.read()).decode(errors="replace"),
    }
    return web.json_response(received, dumps=lambda value: json.dumps(value, indent=2) + "\n")


INSTANCE = web.AppKey("instance", str)

if __name__ == "__main__":
    name, port = sys.argv[1:]
    app = web.Application()
    app[INSTANCE] = name
    app.router.add_route("*", "/{path:.*}", echo)
    web.run_app(app, host="127.0.0.1", port=int(port), access_log=None, print=None)
