"""What queries of Prometheus name, and where the project has such queries."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

__all__ = ["DASHBOARDS", "PROMETHEUS", "alerts", "named", "queries"]

_DOCKER = Path(__file__).parents[1] / "docker"
DASHBOARDS = sorted((_DOCKER / "grafana" / "dashboards").glob("*.json"))
PROMETHEUS = _DOCKER / "prometheus"
_WORDS = {"sum", "rate", "by", "max", "min", "count", "increase", "changes", "histogram_quantile", "or", "vector", "on"}
_WORDS |= {"avg_over_time", "min_over_time"}
_STRING = re.compile(r'"[^"]*"')
_GROUPING = re.compile(r"\bby\s*\([^)]*\)")
_METRIC = re.compile(r"([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!=|!~|=)")


def named(query: str) -> dict[str, set[str]]:
    """The metrics that a query names, and the labels that it asks each of them for."""
    plain = re.sub(r"\[[^\]]*\]", "", _GROUPING.sub("", _STRING.sub("", query)))
    found: dict[str, set[str]] = {}
    for name, labels in _METRIC.findall(plain):
        if name not in _WORDS and not re.fullmatch(r"e\d+", name):
            found.setdefault(name, set()).update(_LABEL.findall(labels))
    return found


def alerts() -> dict[str, str]:
    """Alert -> its query."""
    rules = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())
    return {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}


def queries() -> list[str]:
    """All queries of dashboards and alerts."""
    of_panels = [target["expr"] for path in DASHBOARDS for panel in _panels(path) for target in panel["targets"]]
    return [*of_panels, *alerts().values()]


def _panels(path: Path) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(path.read_text())["panels"]
    return panels
