"""Nothing that is deployed speaks of a name that the code does not have."""

from __future__ import annotations

import argparse
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from models.presets.register import get_preset
from service.cli import COMMANDS
from service.metrics import WorkerMetrics
from service.settings import Settings, describe
from tests.deploy.chart import EXAMPLES, environment, pods, rendered
from tests.deploy.names import (
    DASHBOARD,
    ROOT,
    dashboard_expressions,
    declared_metrics,
    metric_names,
    panels,
    recorded_names,
    rule_expressions,
)
from tests.models import mindalle

METRICS = declared_metrics()
PAGES = ("deploy/README.md", "docker-compose.yml", "Dockerfile", "deploy/prometheus.yml",
         "deploy/proxies/nginx.conf", "deploy/proxies/Caddyfile")  # fmt: skip
FOREIGN = re.compile(r"(OTEL_EXPORTER_OTLP_ENDPOINT|REDIS_PASSWORD|POD_NAME)")


def texts() -> Iterator[tuple[str, str]]:
    for name in PAGES:
        yield name, (ROOT / name).read_text()
    for folder in ("deploy/helm", "deploy/grafana"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file():
                yield str(path.relative_to(ROOT)), path.read_text()


TEXTS = dict(texts())


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_setting_that_is_named_exists(name: str) -> None:
    settings = {variable for variable, _ in describe()}
    found = set(re.findall(r"\bMINDALLE_[A-Z0-9_]+[A-Z0-9]\b", TEXTS[name]))

    assert found - settings <= {"MINDALLE_QUEUE", "MINDALLE_API_PORT"}, found - settings


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_variable_of_a_pod_is_a_setting_or_known_to_others(name: str) -> None:
    settings = {variable for variable, _ in describe()}
    for pod in pods(rendered(name)).values():
        for variable in pod["containers"][0].get("env", []):
            assert variable["name"] in settings or FOREIGN.fullmatch(variable["name"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_pods_would_start_with_their_variables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for pod in pods(rendered(name)).values():
        if "env" in pod["containers"][0]:
            with monkeypatch.context() as patch:
                for variable, value in environment(pod).items():
                    patch.setenv(variable, value)
                Settings()


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_metric_that_is_named_exists(name: str) -> None:
    words = set(re.findall(r"\bmindalle_[a-z0-9_]+[a-z0-9]\b", TEXTS[name]))
    families = {re.sub(r"_(bucket|sum|count|total|info)$", "", metric) for metric in METRICS}

    assert words <= set(METRICS) | families


def expressions() -> list[tuple[str, str]]:
    return [*rule_expressions(), *dashboard_expressions()]


@pytest.mark.parametrize(("title", "expression"), expressions())
def test_expressions_use_metrics_and_labels_that_exist(title: str, expression: str) -> None:
    del title
    assert metric_names(expression) <= set(METRICS) | recorded_names()
    for metric, selector in re.findall(r"(mindalle_\w+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        assert labels <= {*METRICS[metric], "instance", "job", "le"}, metric


def test_every_metric_is_on_the_dashboard_or_in_a_rule() -> None:
    """A metric that nobody looks at is not worth its series."""
    seen = set().union(*(metric_names(expression) for _, expression in expressions()))
    families = {re.sub(r"_(bucket|sum|count)$", "", metric) for metric in METRICS}
    looked_at = {re.sub(r"_(bucket|sum|count)$", "", metric) for metric in seen}

    assert families - looked_at == {"mindalle_model_info"}  # for people to join with


def test_bucket_bounds_that_are_named_exist() -> None:
    metrics = WorkerMetrics(CollectorRegistry())
    metrics.queue_wait_seconds.labels("tiny")
    (family,) = metrics.queue_wait_seconds.collect()
    declared = {sample.labels["le"] for sample in family.samples if "le" in sample.labels}
    bounds = {
        bound
        for _, expression in expressions()
        for bound in re.findall(r'le="([\d.]+)"', expression)
    }

    assert bounds
    assert bounds <= declared


def test_every_command_that_is_named_exists() -> None:
    texts = " ".join([*TEXTS.values(), (ROOT / "docs/settings.md").read_text()])
    named = re.findall(r"(?:`|-- )mindalle\s+([a-z]+)(?:\s+([a-z]+))?", texts)

    assert {"doctor", "dlq", "config", "bench", "serve"} <= {command for command, _ in named}
    for command, verb in named:
        assert command in COMMANDS
        if command in ("dlq", "config"):
            assert verb in _help_of(command)


@pytest.mark.parametrize("name", EXAMPLES)
def test_pods_and_containers_run_commands_that_exist(name: str) -> None:
    compose = yaml.safe_load(TEXTS["docker-compose.yml"])["services"]
    ours = [compose[service]["command"] for service in ("api", "worker", "worker-gpu")]
    ours += re.findall(r'^CMD \["(\w+)"\]', TEXTS["Dockerfile"], re.M)
    for pod in pods(rendered(name)).values():
        if pod["containers"][0]["name"] in ("api", "worker"):
            ours.append(pod["containers"][0]["args"])

    assert {each if isinstance(each, str) else each[0] for each in ours} == {"api", "worker"}


def _help_of(command: str) -> str:
    parser = argparse.ArgumentParser()
    importlib.import_module(COMMANDS[command][0]).add_arguments(parser)
    return parser.format_help()


def test_the_runbook_explains_the_charts_own_autoscaling() -> None:
    values = yaml.safe_load((ROOT / "deploy/helm/mindalle/values.yaml").read_text())
    chart = values["workerDefaults"]["autoscaling"]
    explained = dict(re.findall(r"^- `(\w+): (\d+)`", TEXTS["deploy/README.md"], re.M))

    assert len(explained) == 5
    assert {name: str(chart[name]) for name in explained} == explained


def test_ports_are_the_settings_own() -> None:
    fields = Settings.model_fields
    api = str(fields["api"].default_factory().port)  # type: ignore[misc,call-arg]  # no arguments
    worker = str(fields["worker"].default_factory().metrics_port)  # type: ignore[misc,call-arg]  # no arguments

    exposed = re.findall(r"^EXPOSE (\d+)", TEXTS["Dockerfile"], re.M)
    scraped = re.findall(r"port: (\d+)", TEXTS["deploy/prometheus.yml"])
    assert exposed == [worker, api]
    assert scraped == [api, worker]


def test_the_dashboard_is_sound() -> None:
    loaded = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in panels()]
    cells: set[tuple[int, int]] = set()

    assert len(ids) == len(set(ids))
    assert {row["title"] for row in panels() if row["type"] == "row"} == {
        "Service", "Queue", "Workers", "Stages", "Webhooks"
    }  # fmt: skip
    assert [each["name"] for each in loaded["templating"]["list"]] == ["datasource", "model"]
    for panel in panels():
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        assert all(x < 24 for x, _ in own)
        cells |= own


def test_the_sizes_in_the_runbook_are_those_of_the_presets() -> None:
    runbook = TEXTS["deploy/README.md"]
    for name in ("mindalle-1.3b", "emoji"):
        shape = mindalle.shape(name)
        numbers = 2 * shape.n_layers * shape.embed_dim * shape.num_positions
        assert (
            f"| `{name}` | {shape.n_layers} | {shape.embed_dim} | {shape.num_positions} "
            f"| {numbers * 2 / 1e6:.1f} MB | {numbers * 4 / 1e6:.1f} MB |" in runbook
        )


@pytest.mark.parametrize("name", ["mindalle-1.3b", "emoji", "emoji-hq"])
def test_a_row_takes_what_the_runbook_says(name: str) -> None:
    half, full = (get_preset(name).row_bytes(number_bytes) / 1e6 for number_bytes in (2, 4))
    (row,) = re.findall(rf"^\| `{re.escape(name)}` .*$", TEXTS["deploy/README.md"], re.MULTILINE)
    assert row.endswith(f"| {half:.1f} MB | {full:.1f} MB |")


def test_links_of_the_runbook_lead_somewhere() -> None:
    folder = Path(ROOT / "deploy")
    links = re.findall(r"\]\(([^)#]+)\)", TEXTS["deploy/README.md"])

    assert links
    assert all((folder / link).exists() for link in links)


def test_every_picture_of_the_docs_is_shown_in_a_page() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = set(re.findall(r"([\w-]+\.png)\)", "".join(page.read_text() for page in pages)))

    assert {picture.name for picture in (ROOT / "docs").glob("*.png")} <= shown
