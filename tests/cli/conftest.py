from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from gatewayd.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG = """
[pipeline]
filters = ["request_id", "route_match", "cors", "body_limit", "balancer", "upstream"]

[filters.request_id]
header = "${HEADER}"

[filters.body_limit]
max_bytes = 1000

[[routes]]
name = "everything"
service = "origin"

[[routes]]
name = "orders"
path = "/orders/{id}"
hosts = ["api.example.org"]
methods = ["GET"]
service = [{ name = "origin", weight = 95 }, { name = "canary", weight = 5 }]
filters.body_limit = false

[[routes]]
name = "beta"
path = "/orders/{id}"
hosts = ["api.example.org"]
headers = { X-Beta = "1", X-Token = "${TOKEN}" }
service = "canary"

[[routes]]
name = "old"
path = "/old"
redirect = { to = "https://new.example.org{rest}" }

[services.origin]
instances = [{ url = "http://127.0.0.1:9101" }]

[services.canary]
instances = [{ url = "http://127.0.0.1:9102" }]
filters.cors = { max_age = 7 }
"""


class Run(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.err == ""
        return json.loads(self.out)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Run]:
    """Run ``gatewayd`` with these arguments, in a folder with ``conf/gateway.toml``."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/gateway.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADER", "X-Secret-Name")
    monkeypatch.setenv("TOKEN", "hunter2")

    def run(*arguments: str) -> Run:
        monkeypatch.setattr(sys, "argv", ["gatewayd", *arguments])
        with pytest.raises(SystemExit) as ending:
            main()
        printed = capsys.readouterr()
        code = ending.value.code
        assert code is None or isinstance(code, int)
        return Run(code or 0, printed.out, printed.err)

    return run


@pytest.fixture
def only_orders(run: Callable[..., Run], tmp_path: Path) -> None:
    """Leave only the route ``orders``, towards services with the same filters."""
    head, _, rest = CONFIG.partition("[[routes]]")
    routes = [one for one in rest.split("[[routes]]") if '"orders"' in one]
    services = rest[rest.index("[services.origin]") :].replace("filters.cors", "filters.headers")
    (tmp_path / "conf/gateway.toml").write_text(
        f"{head}[[routes]]{routes[0]}{services}".replace("filters.headers = { max_age = 7 }", "")
    )
