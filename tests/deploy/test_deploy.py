"""The files for Prometheus, Grafana and Jaeger name metrics that there are; what the unit says."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gatewayd.admin import connections
from gatewayd.audit import trail
from gatewayd.audit.settings import AuditConfig
from gatewayd.config.load import load
from gatewayd.config.schema import ServerConfig
from gatewayd.process import child, supervisor
from gatewayd.registry import Plugins
from scripts import metrics_table
from scripts.dashboard import dashboard
from tests.admin.conftest import running_node
from tests.support.servers import REPOSITORY, require_program

if TYPE_CHECKING:
    from pathlib import Path

DEPLOY = REPOSITORY / "deploy"
DASHBOARD = DEPLOY / "grafana" / "gatewayd.json"
UNIT = DEPLOY / "systemd" / "gatewayd.service"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
NAME = re.compile(r"\bgatewayd_[a-z_]+")
_HISTOGRAM = re.compile(r"_(bucket|count|sum)$")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of all families of a node, as Prometheus stores their samples."""
    with running_node(tmp_path_factory.mktemp("known"), 2) as node:
        page = node.ask("GET", "/metrics").text
    names = set()
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            suffixes = ("_bucket", "_count", "_sum") if kind == "histogram" else ("",)
            names |= {name + suffix for suffix in suffixes}
    # Of the exporter of spans, which is not there where nothing is recorded.
    return names | {"gatewayd_spans_total"}


def test_the_dashboard_is_what_the_script_makes() -> None:
    assert json.loads(DASHBOARD.read_text()) == dashboard()


def test_the_dashboard_asks_for_metrics_that_there_are(known: set[str]) -> None:
    used = {
        name
        for panel in dashboard()["panels"]
        for target in panel["targets"]
        for name in NAME.findall(target["expr"])
    }
    assert used
    assert used <= known


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def test_alerts_ask_for_metrics_that_there_are(known: set[str]) -> None:
    used = {name for rule in alerts() for name in NAME.findall(rule["expr"])}
    assert used
    assert used <= known


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_alerts_say_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert rule["expr"].count("(") == rule["expr"].count(")")


def test_prometheus_reads_the_alerts() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert config["rule_files"] == [ALERTS.name]
    assert config["scrape_configs"][0]["static_configs"][0]["targets"] == ["127.0.0.1:8002"]


def test_the_files_that_compose_mounts_are_there() -> None:
    folder = DEPLOY / "compose"
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    mounted = [one for service in services.values() for one in service.get("volumes", ())]
    sources = [one.partition(":")[0] for one in mounted if one.startswith(".")]
    assert sources
    assert all((folder / source).exists() for source in sources)


def test_compose_runs_what_its_gateway_sends_requests_to() -> None:
    folder = DEPLOY / "compose"
    origin = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["origin"]
    (source, target, _), (_, script, _, port) = (
        origin["volumes"][0].split(":"), origin["entrypoint"],
    )  # fmt: skip
    config = load(folder / "gateway.toml", environ={}, plugins=Plugins()).config
    assert (folder / source).resolve() == REPOSITORY / "scripts" / "sample_origin.py"
    assert script == target
    assert [one["url"] for one in (config.services["demo"].model_extra or {})["instances"]] == [
        f"http://127.0.0.1:{port}"
    ]


def test_the_configuration_that_compose_mounts_can_be_used() -> None:
    config = load(DEPLOY / "compose" / "gateway.toml", environ={}, plugins=Plugins()).config
    assert config.admin is not None
    assert config.filters["tracing"]["endpoint"].endswith("/v1/traces")


def test_the_page_of_metrics_is_what_the_script_makes(
    tmp_path: Path,
) -> None:
    metrics_table.main(tmp_path / "metrics.md")
    written = (tmp_path / "metrics.md").read_text()
    assert written == (REPOSITORY / "docs" / "metrics.md").read_text(), "run `make docs`"


def test_metrics_are_named_in_full_wherever_they_are_told_of() -> None:
    """A query with a name that lacks its ending is empty, and says nothing of it."""
    page = (REPOSITORY / "docs" / "metrics.md").read_text()
    folders = (*REPOSITORY.glob("filters/gatewayd_*"), *REPOSITORY.glob("plugins/*/gatewayd_*"))
    packages = {folder.name for folder in folders}
    documents = [REPOSITORY / "README.md", *REPOSITORY.glob("docs/**/*.md")]
    unknown = {
        f"{document.name}: {name}"
        for document in documents
        for name in NAME.findall(document.read_text())
        if name not in packages and f"`{_HISTOGRAM.sub('', name)}`" not in page
    }
    assert unknown == set()


def test_the_page_has_every_metric_of_a_running_gateway(known: set[str]) -> None:
    page = (REPOSITORY / "docs" / "metrics.md").read_text()
    described = {name for name in known if not name.endswith(("_bucket", "_count", "_sum"))}
    assert [name for name in sorted(described) if f"`{name}`" not in page] == []


@pytest.fixture(scope="module")
def unit() -> dict[str, list[str]]:
    """The settings of the systemd unit; some stand there several times."""
    settings: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            settings.setdefault(key, []).append(value)
    return settings


def test_the_unit_stops_only_what_is_later_than_it_may_be(unit: dict[str, list[str]]) -> None:
    drain = ServerConfig().drain_timeout
    around = supervisor._GRACE_SECONDS + 2 * connections._CLOSE_SECONDS + trail._RECORD_NOW_SECONDS
    assert float(unit["TimeoutStopSec"][0]) > drain + around + AuditConfig().close_timeout


@pytest.mark.parametrize(
    ("folder", "setting", "mode"),
    [("/run", "RuntimeDirectory", "0700"), ("/var/log", "LogsDirectory", "0750")],
)
def test_the_unit_has_the_folders_that_the_documentation_writes_to(
    unit: dict[str, list[str]], folder: str, setting: str, mode: str
) -> None:
    (name,) = unit[setting]
    assert unit[f"{setting}Mode"] == [mode]
    assert f"{folder}/{name}/" in (REPOSITORY / "docs" / "observability.md").read_text()


def test_the_unit_never_gives_up(unit: dict[str, list[str]]) -> None:
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert unit["Restart"] == ["on-failure"]
    assert unit["RestartForceExitStatus"] == ["SIGHUP"]


def test_systemd_waits_for_what_the_supervisor_mends_itself(unit: dict[str, list[str]]) -> None:
    replacing = child.LOOKS * child.LOOK_SECONDS + supervisor._LONGEST_PAUSE + child.ANSWER_SECONDS
    assert unit["Type"] == ["notify"]
    assert float(unit["WatchdogSec"][0]) > replacing


def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    """With a program in the place of gatewayd's, which is not installed where the unit says."""
    program = require_program("systemd-analyze", package="systemd")
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"(=)/opt/gatewayd/bin/gatewayd", r"\1/bin/true", UNIT.read_text()))
    done = subprocess.run(
        [program, "verify", "--man=no", copy],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert UNIT.name not in done.stderr  # it names it where it does not know a setting
    assert done.returncode == 0, done.stderr
