"""The names that the code declares: what compose, chart, dashboard and runbook may speak of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry

from service.metrics import ApiMetrics, DroppedLines, WorkerMetrics

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/rules/mindalle.yml"
DASHBOARD = ROOT / "deploy/grafana/dashboards/mindalle.json"

_SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "info": ("_info",),
    "histogram": ("_bucket", "_sum", "_count"),
}


def declared_metrics() -> dict[str, tuple[str, ...]]:
    """Every series name that a process can show, with the labels it is declared with."""
    names: dict[str, tuple[str, ...]] = {
        family.name + "_total": () for family in DroppedLines(CollectorRegistry()).collect()
    }
    for metrics in (ApiMetrics(CollectorRegistry()), WorkerMetrics(CollectorRegistry())):
        collectors: Any = metrics.registry._collector_to_names
        for collector in collectors:
            for family in collector.describe():
                labels = tuple(getattr(collector, "_labelnames", ()))
                for suffix in _SUFFIXES[family.type]:
                    names[family.name + suffix] = labels
    return names


def recorded_names() -> set[str]:
    """What the recording rules make."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}


def rule_expressions() -> Iterator[tuple[str, str]]:
    """Name and expression of every rule."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels, rows included."""
    loaded: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return loaded


def dashboard_expressions() -> Iterator[tuple[str, str]]:
    """Title and expression of every query of the dashboard."""
    for panel in panels():
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def metric_names(expression: str) -> set[str]:
    """The metrics that an expression names."""
    return set(re.findall(r"\bmindalle[_:][a-zA-Z0-9_:]+", expression))
