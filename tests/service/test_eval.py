"""Evaluation of pictures that a service draws, with a painter in a worker's place."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from service import cli
from service.commands import eval as command  # imported here: it takes seconds of the API's loop
from tests.service.live_api import LiveApi
from tests.service.painter import Painter


async def test_pictures_of_a_service_are_measured_and_not_drawn_again(
    api: LiveApi, painter: Painter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captions = {"annotations": [{"caption": "a cat"}, {"caption": "an owl"}, {"caption": "a cat"}]}
    (tmp_path / "coco.json").write_text(json.dumps(captions))
    call = ["eval", "tiny", "--url", api.url, "--prompts", str(tmp_path / "coco.json")]
    call += ["--candidates", "12", "--tables", "best-of", "rejection", "grid"]
    call += ["--temperatures", "0.5", "--top-ks", "0", "--art", str(tmp_path / "no-art")]
    call += ["--features", f"inception={tmp_path / 'none'}", "--out", str(tmp_path)]
    call += ["--patience", "20", "--api-key", "a-secret-key"]
    assert cli.COMMANDS["eval"][0] == command.__name__
    assert await asyncio.to_thread(cli.main, call) == 2  # a wrong file is told before any drawing
    assert not painter.started
    del call[call.index("--features") : call.index("--out")]
    assert await asyncio.to_thread(cli.main, call) == 0
    own, grid = painter.started[:3], painter.started[3:]
    assert (
        len({(job.recipe.prompt, job.recipe.seed) for job in own}) == 3
    )  # "a cat" twice, not alike
    assert {(j.recipe.num_candidates, j.recipe.n, j.recipe.temperature) for j in own} == {
        (12, 10, 1.0)
    }
    assert {(job.recipe.temperature, job.recipe.top_k) for job in grid} == {(0.5, 64)}
    report = json.loads((tmp_path / "eval.json").read_text())
    assert report["arguments"]["candidates"] == 12
    assert "a-secret-key" not in (tmp_path / "eval.json").read_text()
    tables = {table["title"]: table["rows"] for table in report["tables"]}
    accepted = [(row["accepted"], row["pictures"]) for row in tables["Rejection"]]
    # Ten of twelve is all that one job gives.
    assert accepted == [
        ("0.833", [30]),
        ("0.5", [18]),
        ("0.25", [9]),
        ("0.167", [6]),
        ("0.0833", [3]),
    ]
    assert "Best of n" not in tables
    assert await asyncio.to_thread(cli.main, call) == 0
    assert len(painter.started) == 6
    capsys.readouterr()


async def test_what_a_service_can_not_do_is_told(
    api: LiveApi, painter: Painter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.txt").write_text("a cat\n")
    call = ["eval", "--url", api.url, "--prompts", str(tmp_path / "p.txt"), "--out", str(tmp_path)]
    call += ["--patience", "20"]
    for more, said in (
        (["nope"], "serves no nope; it has tiny"),
        (["tiny", "--tables", "speed"], "a model there has no folder here"),
        (["tiny", "--candidates", "97"], "draws 96 at most"),
        (["tiny", "--seed", str(2**53)], f"by seeds up to {2**53 - 1}, and these prompts"),
    ):
        assert await asyncio.to_thread(cli.main, [*call, *more]) == 2
        assert said in capsys.readouterr().err
    assert not painter.started
