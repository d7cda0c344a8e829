"""What an evaluation leaves in its folder: the tables as Markdown and JSON, and plots of them.

Knows no figure; of which call and on which machine they are is told beside them.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch

from models.measure.tables.table import Table
from models.train.loop.pictures import draw_curves

Panels = Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]


@dataclass(frozen=True, slots=True)
class Plot:
    """Panels side by side, by title; `axes` as matplotlib calls them."""

    name: str
    panels: Panels
    axes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """All that came out."""

    arguments: Mapping[str, object]
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)

    def markdown(self) -> str:
        """The tables one below the other."""
        return "\n".join(table.markdown() for table in self.tables)

    def write(self, folder: Path) -> None:
        """eval.md, eval.json and the plots."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "eval.md").write_text(self.markdown(), encoding="utf-8")
        document = {
            "arguments": dict(self.arguments),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "machine": f"{platform.machine()} {platform.system()}",
            "tables": [table.record() for table in self.tables],
        }
        text = json.dumps(document, ensure_ascii=False, indent=1)
        (folder / "eval.json").write_text(text + "\n", encoding="utf-8")
        for plot in self.plots:
            panels = {title: lines for title, lines in plot.panels.items() if any(lines.values())}
            if panels:
                draw_curves(folder / f"{plot.name}.png", panels, **plot.axes)
