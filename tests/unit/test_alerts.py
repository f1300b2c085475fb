"""Alert rules and dashboards, as files."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.e2e.serving import ROOT
from tests.promql import DASHBOARDS, PROMETHEUS, alerts, named, queries


def test_names_in_a_query_are_found() -> None:
    query = 'sum by (le, job) (rate(a_bucket{x="y",z!~"sum|b_c"}[5m])) / 1e6 > d or vector(0)'
    assert named(query) == {"a_bucket": {"x", "z"}, "d": set()}


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_has_a_test_and_a_page_that_says_what_to_do(alert: str) -> None:
    tests = yaml.safe_load((PROMETHEUS / "tests.yml").read_text())["tests"]
    fires = [
        rule for test in tests for rule in test["alert_rule_test"] if rule["alertname"] == alert and rule["exp_alerts"]
    ]
    assert fires
    assert re.search(rf"^### {alert}$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)


def test_every_query_names_a_metric() -> None:
    assert len(queries()) > 40
    assert [query for query in queries() if not named(query)] == []


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["datasource"]["uid"] for panel in panels} == {"prometheus"}
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    used = {name for panel in panels for target in panel["targets"] for name in re.findall(r"\$(\w+)", target["expr"])}
    assert used - {"__rate_interval"} == variables
