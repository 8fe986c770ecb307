"""A configuration that sends everything to one origin, but for one redirect."""

from __future__ import annotations

CONFIG = """
[server]
workers = {workers}

[filters.body_limit]
max_bytes = "2GiB"

[[routes]]
name = "everything"
service = "origin"

[[routes]]
name = "old"
path = "/old"
redirect = {{ to = "/plain" }}

[filters.auth]
required = false

[services.origin]
idle_timeout = 1
instances = [{{ url = "http://127.0.0.1:{port}" }}]
"""


def config_for(origin_port: int, workers: int = 1) -> str:
    """Return a configuration with the default pipeline before an origin on this port."""
    return CONFIG.format(port=origin_port, workers=workers)
