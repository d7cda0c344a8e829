"""The Helm chart, rendered by Helm's own library with the example values."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/helm/mindalle"
EXAMPLES = tuple(sorted(path.stem for path in (FOLDER / "examples").glob("*.yaml")))

Object = dict[str, Any]


def example(name: str) -> Object:
    """The values of an example file."""
    values: Object = yaml.safe_load((FOLDER / "examples" / f"{name}.yaml").read_text())
    return values


def texts(values: Object) -> dict[str, str]:
    """Path → what the chart makes of these values, in a release named mindalle."""
    with Chart.load(FOLDER) as chart:
        chart.validate_schema(values)
        made: dict[str, str] = chart.render(values, name="mindalle", namespace="images")
    return made


def render(values: Object) -> list[Object]:
    """All objects among them."""
    documents = [
        document
        for path, text in texts(values).items()
        if path.endswith(".yaml")
        for document in yaml.safe_load_all(text)
    ]
    return [document for document in documents if document]


@cache
def rendered(name: str) -> tuple[Object, ...]:
    """The objects of an example."""
    return tuple(render(example(name)))


def of_kind(objects: list[Object] | tuple[Object, ...], kind: str) -> dict[str, Object]:
    """The objects of one kind, by name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def pods(objects: list[Object] | tuple[Object, ...]) -> dict[str, Object]:
    """The pod specs of all Deployments and StatefulSets, by name."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in objects
        if each["kind"] in ("Deployment", "StatefulSet")
    }


def environment(pod: Object) -> dict[str, str]:
    """The plain variables of a pod's first container."""
    return {v["name"]: v["value"] for v in pod["containers"][0]["env"] if "value" in v}
