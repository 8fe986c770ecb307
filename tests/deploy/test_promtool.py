"""What is in deploy/ as Prometheus itself reads it, and its opinion of the page of metrics."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.admin.conftest import running_node
from tests.deploy.test_deploy import ALERTS, DASHBOARD, DEPLOY, alerts
from tests.support.servers import require_program

if TYPE_CHECKING:
    from pathlib import Path

FAR, NEAR = 30 * 86400, 3 * 86400
WHAT_FIRES: dict[str, dict[str, str]] = {
    "GatewaydDown": {'up{job="gatewayd", instance="a"}': "0x40"},
    "GatewaydErrors": {
        'gatewayd_requests_total{instance="a", route="r", code="200"}': "0+540x40",
        'gatewayd_requests_total{instance="a", route="r", code="502"}': "0+60x40",
    },
    "GatewaydNoInstance": {
        'gatewayd_instance_available{instance="a", service="s", target="t"}': "0x40",
        'gatewayd_instance_available{instance="a", service="s", target="u"}': "0x40",
    },
    "GatewaydSlow": {
        'gatewayd_request_seconds_bucket{route="r", le="2.5"}': "0+60x40",
        'gatewayd_request_seconds_bucket{route="r", le="5.0"}': "0+600x40",
        'gatewayd_request_seconds_bucket{route="r", le="+Inf"}': "0+600x40",
    },
    "GatewaydBreakerOpen": {'gatewayd_breaker_state{service="s", target="t"}': "2x40"},
    "GatewaydLoopStalls": {'gatewayd_event_loop_stalls_total{filter="f"}': "0x25 1x15"},
    "GatewaydReloadFailed": {'gatewayd_reloads_total{result="failure"}': "0x25 1x15"},
    "GatewaydWorkerRestarts": {"gatewayd_worker_restarts_total": "0x20 1+1x20"},
    "GatewaydCertificateExpires": {
        'gatewayd_certificate_expiry_timestamp_seconds{certificate="c"}': f"{NEAR}x40"
    },
    "GatewaydRateLimitOutage": {
        'gatewayd_rate_limit_outages_total{on_outage="allow"}': "0+1x40",
    },
    "GatewaydDropsLogs": {"gatewayd_access_log_dropped_lines_total": "0x25 1x15"},
}
# Of each family that alerts ask for, as it is on a good day.
QUIET = {
    'up{job="gatewayd", instance="a"}': "1x40",
    'gatewayd_requests_total{instance="a", route="r", code="200"}': "0+590x40",
    'gatewayd_requests_total{instance="a", route="r", code="502"}': "0+10x40",
    'gatewayd_instance_available{instance="a", service="s", target="t"}': "0x40",
    'gatewayd_instance_available{instance="a", service="s", target="u"}': "1x40",
    'gatewayd_request_seconds_bucket{route="r", le="2.5"}': "0+600x40",
    'gatewayd_request_seconds_bucket{route="r", le="+Inf"}': "0+600x40",
    'gatewayd_breaker_state{service="s", target="t"}': "0x20 2x2 0x18",
    'gatewayd_event_loop_stalls_total{filter="f"}': "3x40",
    'gatewayd_reloads_total{result="failure"}': "1x40",
    'gatewayd_reloads_total{result="success"}': "0+1x40",
    "gatewayd_worker_restarts_total": "0x20 1x20",
    'gatewayd_certificate_expiry_timestamp_seconds{certificate="c"}': f"{FAR}x40",
    'gatewayd_rate_limit_outages_total{on_outage="allow"}': "0x20 1x20",
    "gatewayd_access_log_dropped_lines_total": "0x40",
    'gatewayd_audit_events_total{result="written"}': "0+1x40",
}
MINUTES = 30


def promtool(*arguments: str | Path, given: str = "") -> str:
    """Run promtool; return what it says, and fail where it is not content."""
    program = require_program("promtool", package="prometheus")
    done = subprocess.run(
        [program, *arguments], input=given, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_configuration_and_its_rules() -> None:
    promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yml")


def test_the_table_has_all_alerts() -> None:
    assert set(WHAT_FIRES) == {rule["alert"] for rule in alerts()}


def expect(folder: Path, series: dict[str, str], firing: list[str]) -> None:
    """Have promtool feed the rules with series, and compare what fires after half an hour."""
    told: dict[str, Any] = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": one, "values": series[one]} for one in series],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": f"{MINUTES}m",
                        "exp_samples": [
                            {"labels": f'{{alertname="{name}"}}', "value": 1} for name in firing
                        ],
                    }
                ],
            }
        ],
    }
    file = folder / "rules_test.yml"
    file.write_text(yaml.safe_dump(told))
    promtool("test", "rules", file)


@pytest.mark.parametrize("alert", sorted(WHAT_FIRES))
def test_an_alert_fires_when_it_should(alert: str, tmp_path: Path) -> None:
    expect(tmp_path, WHAT_FIRES[alert], [alert])


def test_no_alert_fires_on_a_good_day(tmp_path: Path) -> None:
    expect(tmp_path, QUIET, [])


def test_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    queries = [
        target["expr"].replace("$__rate_interval", "1m").replace("$__range", "1h")
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel.get("targets", ())
    ]
    assert queries
    rules = [{"record": f"q:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", file)


def test_the_page_of_metrics(tmp_path: Path) -> None:
    with running_node(tmp_path, 2) as node:
        node.get("/items")
        promtool("check", "metrics", given=node.ask("GET", "/metrics").text)
