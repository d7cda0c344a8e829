"""Contact sheets: what a model makes of a list of prompts, as one picture to look at.

Runs the engine's own pipeline; knows nothing of training.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from models.configs.preset import SamplingDefaults
from models.configs.prior import Prompt
from models.drawing.sampling import RowParams
from models.pipeline import Picture, Pipeline

_LABEL = 22


def candidates(
    pipeline: Pipeline, prompt: Prompt, sampling: SamplingDefaults, seed: int = 0
) -> list[Picture]:
    """One prompt's pictures, best first."""
    rows = [
        RowParams(seed, number, sampling.temperature, sampling.top_k, sampling.top_p)
        for number in range(sampling.num_candidates)
    ]
    levels = pipeline.preset.codes_per_level
    return pipeline.generate(prompt, [row.spread(levels) for row in rows])


def tile(pictures: Sequence[Tensor], label: str) -> Image.Image:
    """Pictures [3, H, W] side by side under their label."""
    row = torch.cat(list(pictures), dim=2).permute(1, 2, 0)
    image = Image.fromarray((row.clamp(0, 1) * 255).byte().numpy())
    out = Image.new("RGB", (image.width, image.height + _LABEL), "white")
    text = "\n".join(textwrap.wrap(label, max(8, image.width // 6))[:2])
    ImageDraw.Draw(out).text((1, 0), text, fill="black", font_size=9, spacing=0)
    out.paste(image, (0, _LABEL))
    return out


def sheet(tiles: Sequence[Image.Image], columns: int, path: Path) -> None:
    """Lay tiles of equal size out in rows and write them."""
    width, height = tiles[0].size
    rows = -(-len(tiles) // columns)
    canvas = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for index, image in enumerate(tiles):
        y, x = index // columns * height, index % columns * width
        canvas[y : y + height, x : x + width] = np.asarray(image)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(canvas).save(path, optimize=True)


def write_sheet(
    pipeline: Pipeline, path: Path, sampling: SamplingDefaults, prompts: Sequence[Prompt]
) -> None:
    """The best three candidates of each prompt."""
    tiles = []
    for prompt in prompts:
        best = candidates(pipeline, prompt, sampling)[:3]
        tiles.append(tile([picture.pixels for picture in best], str(prompt)))
    sheet(tiles, 6, path)
