"""What a run shows: curves of its log, TensorBoard, grids of pictures. Knows no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor


def draw_curves(
    path: Path, panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], **axes: object
) -> None:
    """Write panels side by side as one PNG: by title, and in each the points by a line's label.

    `axes` are what matplotlib's axes call their properties, the same for all.
    """
    import matplotlib as mpl  # noqa: PLC0415  slow to import and few commands draw

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  after the backend is chosen

    figure, places = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3), squeeze=False)
    for place, (title, lines) in zip(places[0], panels.items(), strict=True):
        for label, points in lines.items():
            marker = "o" if len(points) < 10 else None  # one point alone makes no line
            xy = zip(*points, strict=True) if points else ([], [])
            place.plot(*xy, marker=marker, label=label)
        place.set(title=title, **axes)
        if any(lines):
            place.legend()
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def save_grid(pixels: Tensor, columns: int, path: Path) -> None:
    """Write pixels [N, 3, H, W] in [0, 1] as one PNG, row by row."""
    rows = -(-len(pixels) // columns)
    blank = pixels.new_ones((rows * columns - len(pixels), *pixels.shape[1:]))
    grid = torch.cat([pixels, blank]).view(rows, columns, *pixels.shape[1:])
    joined = grid.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)  # [rows·H, columns·W, 3]
    Image.fromarray((joined.clamp(0, 1) * 255).byte().cpu().numpy()).save(path)


def tensorboard(run: Path) -> Callable[[int, dict[str, float]], None]:
    """What writes values of a step where `tensorboard --logdir RUN` finds them."""
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  few runs write it

    writer = SummaryWriter(str(run / "tensorboard"))

    def tell(step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return tell
