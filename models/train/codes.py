"""Every variant of the data set as stage 1's codes, made once: `python -m models.train.codes`.

Stage 2 then trains without touching a pixel. Knows no text: captions are drawn anew each time.
"""

from __future__ import annotations

import argparse
import json
from argparse import Namespace
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from itertools import repeat
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.stage1.vqgan import VQGAN
from models.train.data.captions import Variant
from models.train.data.emoji import DataSet, EmojiSet, open_data
from models.train.start import preset_of, stage1_of

# How often stage 2 sees each kind of variant.
SHARES = {"plain": 0.56, "colour": 0.2, "background": 0.14, "finish": 0.04, "several": 0.06}
_NUM_SEVERAL = 2000
_BATCH = 64


def kind(variant: Variant) -> str:
    """Which of SHARES' kinds a variant is."""
    said = [name for name in ("colour", "background", "finish") if getattr(variant, name)]
    if len(said) > 1:
        return "several"
    return said[0] if said else "plain"


@dataclass(frozen=True, slots=True)
class CodeTable:
    """Variants and their codes [M, T], grouped by kind."""

    variants: tuple[Variant, ...]
    codes: Tensor
    by_kind: dict[str, tuple[int, ...]]

    def draw(self, rng: Random, shares: Mapping[str, float] = SHARES) -> int:
        """A row: first a kind by its share, then any of that kind."""
        kinds = [name for name in shares if self.by_kind.get(name)]
        chosen = rng.choices(kinds, [shares[name] for name in kinds])[0]
        return rng.choice(self.by_kind[chosen])


def table(variants: tuple[Variant, ...], codes: Tensor) -> CodeTable:
    """Group variants by kind."""
    groups: dict[str, list[int]] = {}
    for row, variant in enumerate(variants):
        groups.setdefault(kind(variant), []).append(row)
    return CodeTable(variants, codes, {name: tuple(rows) for name, rows in groups.items()})


def load(folder: Path) -> CodeTable:
    """Read what `main` wrote."""
    variants = tuple(Variant(*row) for row in json.loads((folder / "variants.json").read_text()))
    return table(variants, torch.from_numpy(np.load(folder / "codes.npy")).long())


def all_variants(
    data: DataSet, styles: tuple[str, ...] = (), varied: tuple[str, ...] = (), seed: int = 0
) -> tuple[Variant, ...]:
    """Training pictures, their allowed variations, and some with several at once.

    Of the emoji set only art in `styles`, and only variations of art in `varied`; () is all.
    """

    def is_wanted(variant: Variant) -> bool:
        wanted = styles if kind(variant) == "plain" else varied
        return not wanted or not isinstance(data, EmojiSet) or data.style(variant.image) in wanted

    single = [variant for image in data.images for variant in data.variants(image)]
    rng = Random(seed)
    drawn = (data.draw(rng) for _ in range(40 * _NUM_SEVERAL))
    several = [v for v in dict.fromkeys(drawn) if kind(v) == "several" and is_wanted(v)]
    return (*filter(is_wanted, single), *several[:_NUM_SEVERAL])


@torch.inference_mode()
def encode(model: VQGAN, data: DataSet, variants: tuple[Variant, ...]) -> Tensor:
    """Codes [M, T] of variants."""
    parts = []
    for start in range(0, len(variants), _BATCH):
        images = torch.stack([data.render(v) for v in variants[start : start + _BATCH]])
        parts.append(model.encode_images(images).flatten(1))
    return torch.cat(parts)


def _encode_part(args: Namespace, variants: tuple[Variant, ...]) -> Any:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    model = stage1_of(args.checkpoint, args.stage1).eval()
    data = open_data(args.data, args.art, model.config.resolution)
    return encode(model, data, variants).to(torch.int32).numpy()


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Encode a data set by stage 1.")
    parser.add_argument("--stage1", type=Path, help="a stage-1 run")
    parser.add_argument("--checkpoint", type=Path, help="a model; its stage 1, if no run is given")
    parser.add_argument("--art", type=Path, default=Path("runs/emoji-art"))
    parser.add_argument("--data", type=Path, help="a folder of pictures and captions instead")
    parser.add_argument("--out", type=Path, default=Path("runs/codes"))
    parser.add_argument("--styles", nargs="*", default=(), help="only these art styles")
    parser.add_argument("--varied", nargs="*", default=(), help="vary only these art styles")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(argv)
    size, _ = preset_of(args.checkpoint).size
    data = open_data(args.data, args.art, size)
    variants = all_variants(data, tuple(args.styles), tuple(args.varied))
    share = -(-len(variants) // args.workers)
    parts = [variants[start : start + share] for start in range(0, len(variants), share)]
    with ProcessPoolExecutor(args.workers) as pool:
        codes = list(pool.map(_encode_part, repeat(args), parts))
    args.out.mkdir(parents=True, exist_ok=True)
    np.save(args.out / "codes.npy", np.concatenate(codes))
    (args.out / "variants.json").write_text(json.dumps([astuple(v) for v in variants]))
    print(f"{len(variants)} variants in {args.out}")


if __name__ == "__main__":
    main()
