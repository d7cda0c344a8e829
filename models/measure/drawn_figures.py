"""Figures of pictures that are drawn for prompts: fidelity, rejection, best of n, the grid.

Each model, setting and seed is drawn once and looked at once; tables share what was seen. Knows no
arguments of the command and not who draws.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.measure import blind
from models.measure.artists import Artist, Series, series
from models.measure.drawer import Setting
from models.measure.impression import Impression, impression, num_accepted
from models.measure.networks import Network
from models.measure.reference import Reference
from models.measure.report import Panels, Plot
from models.measure.tables.scores import BEST_OF, best_of_figures
from models.measure.tables.table import Cell, Table, mean, over_seeds
from models.rerank.ranker import Ranker

_SCORES = ("ranker's score", "judge's score")
_SETS = ("pictures", "Fréchet distance", "Inception score", "precision", "recall")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is drawn and how often. `grid` are settings that are not the model's own."""

    prompts: Sequence[str]
    setting: Setting
    grid: Sequence[Setting]
    seeds: Sequence[int]
    shares: Sequence[float]
    wanted: Collection[str]
    questions: Sequence[blind.Question]

    @property
    def is_own_wanted(self) -> bool:
        """Whether some table is of the models' own settings."""
        return bool({"fidelity", "rejection", "best-of", "blind"}.intersection(self.wanted))


@dataclass(frozen=True, slots=True)
class Row:
    """One model, setting and number of accepted candidates, over all seeds."""

    model: str
    setting: Setting
    accepted: int
    figures: dict[str, Cell]


@dataclass(slots=True)
class DrawnFigures:
    """Tables that grow by a model at a time. `eyes` opens a network, with the model's own CLIP."""

    plan: Plan
    folder: Path
    reference: Reference
    judge: Ranker | None
    eyes: Callable[[Path | None], Network | None]
    _rows: list[Row] = field(default_factory=list, init=False)
    _best: dict[tuple[str, str], dict[str, Cell]] = field(default_factory=dict, init=False)
    _marks: list[Table] = field(default_factory=list, init=False)

    def add(self, artist: Artist, own_folder: Path | None) -> None:
        """Draw what is missing, look at all of it. `own_folder` is the model's, if it is here."""
        network = self.eyes(own_folder)
        if self.plan.is_own_wanted:
            setting = artist.fitting(self.plan.setting)
            made = self._drawn(artist, setting)
            seen = self._look(artist.name, network, self.plan.setting, setting, made)
            if setting.keep >= setting.num_candidates:
                self._note_best(artist.name, seen)
            if "blind" in self.plan.wanted:
                self._ask(artist, made[0])
        if "grid" in self.plan.wanted:
            for asked in self.plan.grid:
                setting = artist.fitting(asked)
                made = self._drawn(artist, setting)
                self._look(artist.name, network, asked, setting, made)

    def _drawn(self, artist: Artist, setting: Setting) -> list[Series]:
        below = self.folder / "drawn"
        return [series(artist, self.plan.prompts, setting, s, below) for s in self.plan.seeds]

    def _look(
        self,
        model: str,
        network: Network | None,
        asked: Setting,
        setting: Setting,
        made: Sequence[Series],
    ) -> list[Impression]:
        """Note what there is to say of each accepted number; what was seen, seed by seed."""
        shares = self.plan.shares if asked == self.plan.setting else (1.0,)
        keep, drawn = min(setting.keep, setting.num_candidates), setting.num_candidates
        accepted = list(dict.fromkeys(min(num_accepted(share, drawn), keep) for share in shares))
        seen = [
            impression(one.drawings.of(one.asks), len(one.asks), network, self.judge, accepted)
            for one in made
        ]
        size = _size(made)
        real = self.reference.crowd(network, size) if network is not None and size else None
        for number in accepted:
            figures = over_seeds([one.figures(number, real) for one in seen])
            self._rows.append(Row(model, asked, number, figures))
        return seen

    def _note_best(self, model: str, seen: Sequence[Impression]) -> None:
        ranker = over_seeds([best_of_figures(one.ranked, one.ranked) for one in seen])
        judge = over_seeds([best_of_figures(one.ranked, one.judged) for one in seen])
        self._best |= {(model, "ranker"): ranker, (model, "judge"): judge}

    def _ask(self, artist: Artist, made: Series) -> None:
        # Of these drawings: what was answered of another model's, or another seed's, stays theirs.
        own = made.drawings.folder
        folder = self.folder / "blind" / f"{own.parent.name}-{own.name}"
        blind.write(folder, made, self.plan.questions)
        if (table := blind.marks(folder, artist.name)) is not None:
            self._marks.append(table)

    def tables(self) -> Iterator[Table]:
        """Those that are wanted and have something to say."""
        own = [row for row in self._rows if row.setting == self.plan.setting]
        if "best-of" in self.plan.wanted and (best := self._best_rows()):
            yield Table("Best of n", ("model", "scored by", *map(str, BEST_OF)), tuple(best))
        if "fidelity" in self.plan.wanted:
            whole = {row.model: row for row in reversed(own)}  # the first of each accepts most
            rows = [(name, *_cells(row)) for name, row in reversed(whole.items())]
            yield Table("Fidelity", ("model", *_SCORES, *_SETS), tuple(rows), self._compared())
        if "rejection" in self.plan.wanted:
            accepted = [(row.model, f"{_share(row):.3g}", *_cells(row)) for row in own]
            heads = ("model", "accepted", *_SCORES, *_SETS)
            yield Table("Rejection", heads, tuple(accepted), "By the model's own ranker.")
        if "grid" in self.plan.wanted:
            grid = [(row.model, *_told(row.setting), *_cells(row)) for row in self._of_grid()]
            knobs = ("temperature", "top-k", "top-p")
            columns = ("model", *knobs, *_SCORES, *_SETS)
            yield Table("Temperature, top-k and top-p", columns, tuple(grid))
        yield from self._marks

    def plots(self) -> Iterator[Plot]:
        """Best of n, rejection and the grid."""
        best: dict[str, list[tuple[float, float]]] = {}
        for (model, who), figures in self._best.items():
            numbers = [(float(n), mean(cell)) for n, cell in figures.items()]
            best[f"{model}, {who}"] = [(n, value) for n, value in numbers if value is not None]
        axes = {"xscale": "log", "xlabel": "candidates", "ylabel": "mean score"}
        yield Plot("best-of-n", {"best of n": {k: v for k, v in best.items() if v}}, axes)
        if "rejection" in self.plan.wanted:
            own = [row for row in self._rows if row.setting == self.plan.setting]
            panels = _panels(own, lambda row: (row.model, _share(row)))
            yield Plot("rejection", panels, {"xscale": "log", "xlabel": "accepted"})
        if "grid" in self.plan.wanted:
            panels = _panels(self._of_grid(), _on_grid)
            yield Plot("grid", panels, {"xlabel": "temperature"})

    def _of_grid(self) -> list[Row]:
        return [row for row in self._rows if row.setting in self.plan.grid]

    def _best_rows(self) -> list[tuple[Cell, ...]]:
        return [
            (model, who, *(figures[str(n)] for n in BEST_OF))
            for (model, who), figures in self._best.items()
            if any(cell is not None for cell in figures.values())
        ]

    def _compared(self) -> str:
        plan = self.plan
        return f"{len(plan.prompts)} prompts, {plan.setting.num_candidates} candidates each," + (
            f" the best {plan.setting.keep} kept" if plan.setting.keep else ""
        )


def _size(made: Sequence[Series]) -> int | None:
    """Of the pictures, if any was drawn; real ones are taken at the same."""
    first = next((drawn for one in made for drawn in one.drawings.of(one.asks)), None)
    return first.pixels().shape[-1] if first is not None else None


def _share(row: Row) -> float:
    return row.accepted / row.setting.num_candidates


def _cells(row: Row) -> list[Cell]:
    return [row.figures[name] for name in (*_SCORES, *_SETS)]


def _told(setting: Setting) -> tuple[str, ...]:
    values = (setting.temperature, setting.top_k, setting.top_p)
    return tuple("own" if v is None else f"{v:g}" if v else "off" for v in values)


def _on_grid(row: Row) -> tuple[str, float]:
    _, top_k, top_p = _told(row.setting)
    return f"{row.model}, k {top_k}, p {top_p}", row.setting.temperature or 0.0


def _panels(rows: Sequence[Row], place: Callable[[Row], tuple[str, float]]) -> Panels:
    """A panel for each figure that all rows have, over where `place` puts a row."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name in (*_SCORES, *_SETS[1:]):
        lines: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            label, x = place(row)
            if (value := mean(row.figures[name])) is not None:
                lines.setdefault(label, []).append((x, value))
        if lines:
            panels[name] = lines
    return panels
