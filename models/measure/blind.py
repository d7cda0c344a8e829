"""Blind judging: numbered pictures in random order with ten names each, a key apart, and marks.

Whoever judges sees sheets and questions, never the prompts; the answers come back as a file. Knows
no model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image

from models.errors import ConfigError
from models.measure.artists import Series
from models.measure.tables.table import Cell, Table
from models.rerank.ranker import ranking
from models.train.sheet import sheet, tile

ANSWERS, QUESTIONS, KEY = "answers.json", "questions.json", "key.json"
_PER_SHEET, _COLUMNS, _SIDE = 20, 5, 192
_ABOUT = (
    "For each picture choose the one of its names that it shows best, and say whether it was clear"
    ' without the list. Write answers.json beside this file: {"1": {"name": "...", "clear": true}}.'
)


@dataclass(frozen=True, slots=True)
class Question:
    """What a judge must see: the right one of the names."""

    prompt: str
    kind: str
    answer: str
    names: tuple[str, ...]


def read_questions(path: Path) -> list[Question]:
    """The `prompts` of a JSON file; an entry's `answer` is its prompt where nothing is said.

    Raises:
        ConfigError: there are no questions in it.
    """
    try:
        entries = json.loads(path.read_text("utf-8"))["prompts"]
        questions = [_question(entry) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: no list of prompts with names: {error!r}") from None
    for question in questions:
        if question.answer not in question.names:
            raise ConfigError(f"{path}: {question.answer!r} is not among its names")
    return questions


def _question(entry: dict[str, Any]) -> Question:
    prompt, names = str(entry["prompt"]), tuple(map(str, entry["names"]))
    kind = str(entry.get("kind", ""))
    return Question(prompt, kind, str(entry.get("answer", prompt)), names)


def write(folder: Path, made: Series, questions: Sequence[Question]) -> None:
    """Sheets, questions and key of each prompt's best picture; what was answered stays as it is."""
    if (folder / ANSWERS).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng, tiles = Random(f"blind/{folder.name}"), list[Image.Image]()
    asked: list[dict[str, object]] = []
    key: dict[str, object] = {}
    pairs = list(zip(questions, made.asks, strict=True))
    rng.shuffle(pairs)
    for question, ask in pairs:
        if (drawn := made.drawings.get(ask)) is None:
            continue
        number, best = len(tiles) + 1, ranking(drawn.scores)[0]
        tiles.append(_tile(drawn.pixels()[best], str(number)))
        names = rng.sample(question.names, len(question.names))
        on = f"sheet-{(number - 1) // _PER_SHEET + 1}.png"
        asked.append({"picture": number, "sheet": on, "names": names})
        told = {"prompt": question.prompt, "kind": question.kind, "answer": question.answer}
        key[str(number)] = told | {"file": str(drawn.files[best].relative_to(made.drawings.folder))}
    for begin in range(0, len(tiles), _PER_SHEET):
        at = folder / f"sheet-{begin // _PER_SHEET + 1}.png"
        sheet(tiles[begin : begin + _PER_SHEET], _COLUMNS, at)
    _write_json(folder / QUESTIONS, {"about": _ABOUT, "pictures": asked})
    _write_json(folder / KEY, key)


def _tile(pixels: torch.Tensor, label: str) -> Image.Image:
    larger = max(1, round(_SIDE / pixels.shape[-1]))
    return tile([F.interpolate(pixels[None], scale_factor=larger, mode="nearest")[0]], label)


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", "utf-8")


def marks(folder: Path, name: str) -> Table | None:
    """How many were seen right, by kind; None while nobody has answered.

    Raises:
        ConfigError: the answers are in another form.
    """
    if not (folder / ANSWERS).is_file():
        return None
    key = json.loads((folder / KEY).read_text("utf-8"))
    try:
        answers = json.loads((folder / ANSWERS).read_text("utf-8"))
        given = {number: _given(answer) for number, answer in answers.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{folder / ANSWERS}: {error!r}; {_ABOUT}") from None
    rows: list[tuple[Cell, ...]] = []
    for kind in [*dict.fromkeys(entry["kind"] for entry in key.values()), None]:
        asked = {n: e for n, e in key.items() if kind is None or e["kind"] == kind}
        right = [n for n, e in asked.items() if given.get(n, ("",))[0] == e["answer"]]
        clear = sum(given[number][1] for number in right)
        rows.append((name, kind or "all", float(len(asked)), float(len(right)), float(clear)))
    columns = ("model", "kind", "pictures", "right", "clear without the list")
    return Table("Blind judging", columns, tuple(rows), f"{len(given)} answers.")


def _given(answer: object) -> tuple[str, bool]:
    if isinstance(answer, dict):
        return str(answer["name"]), bool(answer.get("clear", False))
    return str(answer), False
