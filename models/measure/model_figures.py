"""Figures of models that are here, before anything is drawn for prompts.

Of the codec, the ranker, bits and speed. One model is in memory at a time. Knows no prompts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from models.configs.raw_pixels import RawPixelsConfig
from models.measure.comparison import PAPER, Timing
from models.measure.entrants import Entrant
from models.measure.networks import Network, open_network
from models.measure.reference import Reference, batches
from models.measure.report import Plot
from models.measure.tables.likelihood import bits_per_dimension
from models.measure.tables.reconstruction import reconstruction
from models.measure.tables.retrieval import retrieval
from models.measure.tables.speed import speed_table, timings
from models.measure.tables.table import Cell, Table
from models.pipeline import LoadOptions, Pipeline
from models.rerank.clip import ClipScorer

_TITLES = {
    "reconstruction": "Reconstruction",
    "retrieval": "The ranker on pictures that training did not see",
    "bits": "Bits per dimension",
}
_FIRST = {"reconstruction": ("codec", "on"), "retrieval": ("model",), "bits": ("model", "on")}


@dataclass(slots=True)
class ModelFigures:
    """Tables that grow by a model at a time. `features` is as `open_network` takes it."""

    reference: Reference
    options: LoadOptions
    features: str | None
    num_at_once: list[int]
    _rows: dict[str, list[tuple[Cell, ...]]] = field(default_factory=dict, init=False)
    _columns: dict[str, tuple[str, ...]] = field(default_factory=dict, init=False)
    _timings: list[Timing] = field(default_factory=list, init=False)

    def add(self, entrant: Entrant, wanted: Collection[str]) -> None:
        """Measure what is wanted, as far as it has a meaning for this model."""
        is_raw = isinstance(entrant.preset.stage1, RawPixelsConfig)
        if "reconstruction" in wanted and not is_raw:
            self._reconstruct(entrant)
        has_clip = entrant.preset.clip is not None
        asked = {"retrieval": has_clip, "bits": is_raw, "speed": True}
        here = [name for name, has_meaning in asked.items() if has_meaning and name in wanted]
        if not here or not entrant.draws:
            return
        pipeline = entrant.load(self.options)
        if "retrieval" in here and isinstance(pipeline.ranker, ClipScorer):
            self._retrieve(entrant, pipeline.ranker)
        if "bits" in here:
            self._foresee(entrant, pipeline)
        if "speed" in here:
            self._timings += timings(pipeline, entrant.name, self.num_at_once)

    def tables(self) -> Iterator[Table]:
        """Those that have rows."""
        for name, rows in self._rows.items():
            yield Table(_TITLES[name], (*_FIRST[name], *self._columns[name]), tuple(rows))
        if self._timings:
            yield speed_table(self._timings)

    def plots(self) -> Iterator[Plot]:
        """Seconds a picture, beside the paper's."""
        lines: dict[str, list[tuple[float, float]]] = {}
        for timing in self._timings:
            lines.setdefault(timing.setting, []).append((timing.rows, timing.picture_s))
        axes = {"xlabel": "pictures at once", "ylabel": "seconds a picture"}
        if lines:
            paper = {name: _points(seconds) for name, seconds in PAPER.items()}
            panels = {"this machine": lines, "the RQ paper, A100": paper}
            yield Plot("speed", panels, axes)

    def _note(self, table: str, first: tuple[str, ...], figures: Mapping[str, Cell]) -> None:
        self._columns[table] = tuple(figures)
        self._rows.setdefault(table, []).append((*first, *figures.values()))

    def _reconstruct(self, entrant: Entrant) -> None:
        codec, network = entrant.codec(self.options), self._network(entrant)
        data, kinds = self.reference.unseen(entrant.preset.size[0])
        for kind, variants in kinds.items():
            seen = (pixels.to(self.options.device) for _, pixels in batches(data, variants))
            figures = reconstruction(codec, seen, network)
            self._note("reconstruction", (entrant.name, kind), figures)

    def _retrieve(self, entrant: Entrant, scorer: ClipScorer) -> None:
        data, kinds = self.reference.judged(entrant.preset.size[0])
        variants = [variant for some in kinds.values() for variant in some]
        shown = (
            (pixels, [data.name_of(variant.image) for variant in part])
            for part, pixels in batches(data, variants)
        )
        self._note("retrieval", (entrant.name,), retrieval(scorer, shown, data.names()))

    def _foresee(self, entrant: Entrant, pipeline: Pipeline) -> None:
        data, kinds = self.reference.unseen(entrant.preset.size[0])
        for kind, variants in kinds.items():
            figures = bits_per_dimension(pipeline, data, variants)
            self._note("bits", (entrant.name, kind), figures)

    def _network(self, entrant: Entrant) -> Network | None:
        if self.features is not None:
            return open_network(self.features, device=self.options.device)
        if entrant.folder is None or entrant.preset.clip is None:
            return None
        return open_network(str(entrant.folder), device=self.options.device)


def _points(seconds: Mapping[int, float]) -> list[tuple[float, float]]:
    return [(float(rows), value) for rows, value in seconds.items()]
