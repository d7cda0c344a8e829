from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "rules/mindalle.yml"
UNIT_TESTS = ("tests.yml", "tests-days.yml")


def promtool(*arguments: str | Path) -> str:
    program = shutil.which("promtool")
    assert program, "promtool is needed for these tests: apt-get install prometheus"
    run = subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, timeout=55
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    return {rule["alert"]: rule for rule in rules if "alert" in rule}


def unit_tests() -> list[dict[str, Any]]:
    files = [yaml.safe_load((DEPLOY / "rules" / name).read_text()) for name in UNIT_TESTS]
    return [test for file in files for test in file["tests"]]


def test_promtool_accepts_rules_and_configuration() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES)
    assert "SUCCESS" in promtool("check", "config", DEPLOY / "prometheus.yml")


@pytest.mark.parametrize("name", UNIT_TESTS)
def test_alerts_fire_when_they_should_and_only_then(name: str) -> None:
    assert "SUCCESS" in promtool("test", "rules", DEPLOY / "rules" / name)


def test_every_alert_has_a_unit_test_of_both_sides(alerts: dict[str, Any]) -> None:
    seen: dict[str, set[int]] = {}
    for test in unit_tests():
        for case in test["promql_expr_test"]:
            (name,) = re.findall(r'alertname="(\w+)"', case["expr"])
            seen.setdefault(name, set()).add(case["exp_samples"][0]["value"])

    assert set(seen) == set(alerts)
    assert all(values >= {0, 1} for values in seen.values())


def test_every_alert_has_a_section_in_the_runbook(alerts: dict[str, Any]) -> None:
    headings = re.findall(r"^### (\w+)$", (DEPLOY / "README.md").read_text(), re.M)

    assert sorted(headings) == sorted(alerts)
    for name, alert in alerts.items():
        assert alert["annotations"]["runbook"] == f"deploy/README.md#{name.lower()}"
        assert alert["labels"]["severity"] in ("page", "ticket")
