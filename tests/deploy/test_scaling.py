from __future__ import annotations

from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
import yaml

from deploy.scaling import (
    Arrival,
    Machine,
    Report,
    Rule,
    main,
    office_day,
    read_arrivals,
    row,
    simulate,
    variations,
)

DEPLOY = Path(__file__).parents[2] / "deploy"
DAY = list(office_day())
CHART_NAMES = {
    "min_replicas": "minReplicas",
    "max_replicas": "maxReplicas",
    "jobs_per_worker": "jobsPerWorker",
    "polling_s": "pollingSeconds",
    "cooldown_s": "cooldownSeconds",
    "scale_down_window_s": "scaleDownWindowSeconds",
    "scale_up_pods": "scaleUpPods",
}


@cache
def the_day(cold_start_s: int = 60) -> dict[str, Report]:
    """Reports of the variations, by name."""
    machine = Machine(cold_start_s=cold_start_s)
    return {name: simulate(DAY, rule, machine) for name, rule in variations(Rule())}


@pytest.fixture
def reports() -> dict[str, Report]:
    return the_day()


def test_the_simulated_rule_is_the_charts() -> None:
    values = yaml.safe_load((DEPLOY / "helm/mindalle/values.yaml").read_text())
    chart = values["workerDefaults"]["autoscaling"]
    rule = Rule()

    assert {chart_name: getattr(rule, name) for name, chart_name in CHART_NAMES.items()} == {
        name: value for name, value in chart.items() if name != "enabled"
    }
    assert {each.name for each in fields(Rule)} == {*CHART_NAMES, "counts_running"}


def test_the_first_job_waits_for_a_poll_and_a_cold_start_and_workers_leave_after_the_cooldown() -> (
    None
):
    rule, machine = Rule(cooldown_s=100), Machine(cold_start_s=60)

    report = simulate([Arrival(7.0, 16), Arrival(1000.0, 16)], rule, machine)

    assert report.longest_s == pytest.approx(63, abs=1)  # 3 s to the poll, 60 s to start
    assert report.starts == 2
    assert 2 * 100 <= report.worker_hours * 3600 <= 2 * (60 + 100 + 20)


def test_a_job_that_runs_keeps_its_worker() -> None:
    machine = Machine(row_s=400, cold_start_s=10)

    report = simulate([Arrival(0.0, 1), Arrival(390.0, 1)], Rule(cooldown_s=60), machine)

    assert report.starts == 1


def test_no_more_workers_than_allowed_come_and_all_jobs_are_served() -> None:
    storm = [Arrival(100 + i / 50, 16) for i in range(2000)]

    report = simulate(storm, Rule(max_replicas=3), Machine())

    assert report.jobs == 2000
    assert report.starts == 3


def test_a_job_larger_than_a_worker_enters_in_parts() -> None:
    report = simulate([Arrival(0.0, 96)], Rule(min_replicas=1, max_replicas=1), Machine(rows=32))

    assert report.jobs == 1
    assert report.longest_s == 0


def test_without_idle_workers_a_quiet_day_costs_next_to_nothing() -> None:
    quiet = [Arrival(3600.0 * hour, 16) for hour in range(8, 18)]

    report = simulate(quiet, Rule(), Machine())

    assert report.worker_hours < 2.5
    assert simulate(quiet, Rule(min_replicas=1), Machine()).worker_hours > 17


def test_the_defaults_keep_the_service_level_for_a_third_of_the_price(
    reports: dict[str, Report],
) -> None:
    given, all_day = reports["as given"], reports["always all workers"]

    assert given.p95_s < 10  # the level in rules/mindalle.yml: 95 % start within 10 s
    assert given.worker_hours < all_day.worker_hours / 3


def test_counting_running_jobs_is_better_on_both_counts(reports: dict[str, Report]) -> None:
    """Why the trigger is the set of live jobs and not the stream's lag or the waiting set."""
    given, lag = reports["as given"], reports["on waiting jobs only"]

    assert given.p95_s < lag.p95_s / 5
    assert given.worker_hours < lag.worker_hours
    assert given.starts < lag.starts


def test_the_target_is_where_waiting_begins(reports: dict[str, Report]) -> None:
    """Half the target costs a third more and saves no wait that matters; double misses by far."""
    given = reports["as given"]

    assert reports["jobs per worker 2"].worker_hours > 1.25 * given.worker_hours
    assert reports["jobs per worker 8"].p99_s > 2 * given.p99_s


@pytest.mark.parametrize("cold_start_s", [60, 240])
def test_the_runbook_shows_these_figures(cold_start_s: int) -> None:
    runbook = (DEPLOY / "README.md").read_text()

    for name, report in the_day(cold_start_s).items():
        assert f"{name:28}{row(report)}" in runbook


def test_own_arrivals_are_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "arrivals"
    file.write_text("10 16\n400.5 4\n")

    assert read_arrivals(file) == [Arrival(10.0, 16), Arrival(400.5, 4)]
    assert main(["--arrivals", str(file), "--cold-start-s", "30"]) == 0
    assert "as given" in capsys.readouterr().out
