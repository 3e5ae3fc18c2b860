"""deploy/grafana and deploy/prometheus: they ask for metrics that there are, and the alerts fire when they should."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.telemetry.codes import CODES
from server.telemetry.metrics import ALL, Kind

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yaml"
CASES = DEPLOY / "prometheus" / "alerts_test.yaml"
DASHBOARD = DEPLOY / "grafana" / "opportune.json"

EXPOSED = {
    exposed: metric
    for metric in ALL
    for exposed in (
        [f"{metric.name}_{part}" for part in ("bucket", "count", "sum")]
        if metric.kind is Kind.HISTOGRAM
        else [metric.name]
    )
}
OF_PROMETHEUS = {"job", "instance", "le"}


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


def expressions() -> Iterator[str]:
    """Everything that is asked of Prometheus."""
    for rule in rules():
        yield rule["expr"]
    for panel in panels():
        for target in panel.get("targets", ()):
            yield target["expr"]


def names_in(expression: str) -> set[str]:
    """The metrics that an expression reads; what rules record has colons in its name."""
    without_texts = re.sub(r'"[^"]*"', "", expression)
    return set(re.findall(r"(?<![\w:])(?:opportune|process|grpc_server)_\w+(?!:)\b", without_texts))


def selectors_in(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Metrics with the labels that are asked for."""
    for name, labels in re.findall(r"(\w+)\{([^}]*)\}", expression):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", labels))


def test_every_metric_that_is_asked_for_exists() -> None:
    asked = {name for expression in expressions() for name in names_in(expression)}

    assert len(asked) > 25
    assert asked <= EXPOSED.keys(), asked - EXPOSED.keys()


def test_every_label_that_is_asked_for_exists() -> None:
    for expression in expressions():
        for name, labels in selectors_in(expression):
            if name in EXPOSED:
                assert labels - OF_PROMETHEUS <= set(EXPOSED[name].labels), (name, labels)
        grouped = {label.strip() for each in re.findall(r"by \(([^)]*)\)", expression) for label in each.split(",")}
        known = {label for name in names_in(expression) for label in EXPOSED[name].labels}
        assert grouped - OF_PROMETHEUS <= known, expression


def test_every_status_that_is_asked_for_exists() -> None:
    for expression in expressions():
        for statuses in re.findall(r'grpc_status[!=~]+"([^"]*)"', expression):
            assert set(statuses.split("|")) <= set(CODES)


def test_what_is_recorded_is_recorded_under_the_name_that_is_read() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    read = {name for expression in expressions() for name in re.findall(r"\bopportune:[\w:]+", expression)}

    assert read == recorded


def test_bounds_of_latency_alerts_are_bounds_of_buckets() -> None:
    # A quantile is interpolated within a bucket: a bound within one would fire on a guess.
    for recorded, metric in (
        ("rank_offers_seconds", "grpc_server_call_duration_seconds_bucket"),
        ("loop_lag_seconds", "opportune_loop_lag_seconds_bucket"),
        ("freshness_seconds", "opportune_freshness_seconds_bucket"),
    ):
        (bound,) = re.findall(rf"opportune:{recorded}:p99_rate5m > ([\d.]+)", "\n".join(expressions()))
        assert float(bound) in EXPOSED[metric].bounds


def test_every_alert_says_how_urgent_it_is_and_what_to_look_at() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in ("page", "ticket"), alert["alert"]
        assert alert["annotations"]["summary"] and alert["annotations"]["description"], alert["alert"]


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]
    tested = [case for test in cases for case in test["alert_rule_test"]]

    names = {alert["alert"] for alert in alerts()}
    assert {case["alertname"] for case in tested if case["exp_alerts"]} == names
    assert {case["alertname"] for case in tested if not case["exp_alerts"]} == names


@pytest.mark.parametrize("command", [("check", "rules", RULES), ("test", "rules", CASES)], ids=lambda parts: parts[0])
def test_promtool_accepts_the_rules(command: tuple[str | Path, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None and not os.environ.get("CI"):
        pytest.skip("promtool is in the Debian package prometheus")
    assert promtool is not None

    done = subprocess.run([promtool, *map(str, command)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_say_what_they_show_and_do_not_overlap() -> None:
    drawn = [panel for panel in panels() if panel["type"] != "row"]

    assert len({panel["id"] for panel in panels()}) == len(panels())
    assert len({panel["title"] for panel in drawn}) == len(drawn) > 20
    for panel in drawn:
        assert panel["description"] and panel["targets"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
    for one, other in combinations((panel["gridPos"] for panel in panels()), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


def test_dashboard_shows_what_matters() -> None:
    shown = {name for panel in panels() for target in panel.get("targets", ()) for name in names_in(target["expr"])}

    for wanted in ("call_duration", "decisions_total", "decision_stage", "loop_lag", "journal_commit", "freshness",
                   "held_back", "score_psi", "decision_log_dropped"):  # fmt: skip
        assert any(wanted in name for name in shown), wanted
