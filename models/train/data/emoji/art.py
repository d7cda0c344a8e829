"""The art sets: which packages, whose, under which licence, and their pictures as one array.

Fetches npm packages by name and exact version into a cache folder, rasterises the curated concepts
once, and keeps the transparency so that a background can be chosen later. Knows nothing of
captions or of splits.
"""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.train.data.emoji.concepts import Concept, is_held_out, load_concepts

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ArtSet:
    """One npm package of pictures; `style` is the word that captions use for it."""

    package: str
    version: str
    style: str
    licence: str
    attribution: str


ART_SETS = (
    ArtSet("@iconify-json/noto", "1.2.9", "noto", "Apache-2.0", "Noto Emoji, Google Inc."),
    ArtSet("@iconify-json/noto-v1", "1.2.5", "retro", "Apache-2.0", "Noto Emoji (v1), Google Inc."),
    ArtSet(
        "@iconify-json/fluent-emoji",
        "1.2.7",
        "fluent",
        "MIT",
        "Fluent Emoji, Microsoft Corporation",
    ),
    ArtSet(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "flat",
        "MIT",
        "Fluent Emoji Flat, Microsoft Corporation",
    ),
    ArtSet(
        "@lobehub/fluent-emoji-3d",
        "1.1.0",
        "3d",
        "MIT",
        "Fluent Emoji 3D, Microsoft Corporation; packaged by LobeHub",
    ),
    ArtSet("@iconify-json/fxemoji", "1.2.2", "firefox", "Apache-2.0", "FxEmojis, Mozilla"),
)
# What a ranker may learn from besides: nothing of it can come out as a picture.
MORE_SETS = (
    ArtSet("@iconify-json/twemoji", "1.2.5", "twitter", "CC-BY-4.0", "Twemoji, Twitter, Inc."),
    ArtSet("@iconify-json/emojione", "1.2.3", "emojione", "CC-BY-4.0", "EmojiOne 2, Emoji One"),
    ArtSet(
        "@iconify-json/streamline-emojis",
        "1.2.4",
        "outlined",
        "CC-BY-4.0",
        "Streamline Emojis, Streamline",
    ),
    ArtSet(
        "@iconify-json/fluent-emoji-high-contrast",
        "1.2.6",
        "contrast",
        "MIT",
        "Fluent Emoji High Contrast, Microsoft Corporation",
    ),
)
NAMES = ("emojibase-data", "17.0.0")  # CLDR names and keywords, MIT, from Unicode data
STYLES = tuple(art.style for art in (*ART_SETS, *MORE_SETS))
# These two are drawn for every concept, so that none is left without a picture.
KEPT_STYLES = ("noto", "fluent")
_ALWAYS_SEEN = (*KEPT_STYLES, *(art.style for art in MORE_SETS))
MODULES = "node_modules"


@dataclass(frozen=True, slots=True)
class Art:
    """Every picture of every concept.

    `rgba` is [N, size, size, 4], straight (not premultiplied) alpha; `concept` and `style` are
    indices into `concepts` and `STYLES`.
    """

    rgba: Pixels
    concept: npt.NDArray[np.int64]
    style: npt.NDArray[np.int64]
    concepts: tuple[Concept, ...]

    def concept_of(self, image: int) -> Concept:
        """Whose picture this is."""
        return self.concepts[int(self.concept[image])]

    def style_of(self, image: int) -> str:
        """Which art set it comes from."""
        return STYLES[int(self.style[image])]

    def is_held_out(self, image: int) -> bool:
        """Whether this (concept, style) is kept from training; of `MORE_SETS` none is."""
        label, style = self.concept_of(image).label, self.style_of(image)
        return style not in _ALWAYS_SEEN and is_held_out(label, "style", style)

    def names(self) -> tuple[str, ...]:
        """Every concept's label, lower case."""
        return tuple(concept.names[0] for concept in self.concepts)


def fetch(cache: Path, packages: Sequence[tuple[str, str]]) -> None:
    """Install npm packages (name, version) into `cache`/node_modules unless they are there.

    Raises:
        OSError: npm is not installed, or fails.
    """
    missing = [f"{name}@{version}" for name, version in packages if not _installed(cache, name)]
    if not missing:
        return
    cache.mkdir(parents=True, exist_ok=True)
    if not (listed := cache / "package.json").exists():  # npm removes what isn't listed there
        listed.write_text('{"private": true}\n')
    flags = ["--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        subprocess.run(["npm", "install", *flags, *missing], cwd=cache, check=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        raise OSError(f"npm can't fetch the emoji art into {cache}: {error}") from error


def _installed(cache: Path, package: str) -> bool:
    return (cache / MODULES / package / "package.json").exists()


def load_art(cache: Path, size: int = 64, *, more: bool = False) -> Art:
    """Fetch, rasterise and cache the pictures, with `more` those of `MORE_SETS` as well.

    A second call only reads the array.
    """
    sets = (*ART_SETS, *MORE_SETS) if more else ART_SETS
    fetch(cache, [*((art.package, art.version) for art in sets), NAMES])
    modules = cache / MODULES
    concepts = load_concepts(modules / NAMES[0] / "en")
    path = cache / f"art-{size}{'-more' if more else ''}.npz"
    if not path.exists():
        _rasterise_all(modules, concepts, sets, size, path)
    with np.load(path) as file:
        return Art(file["rgba"], file["concept"], file["style"], concepts)


def _rasterise_all(
    modules: Path, concepts: tuple[Concept, ...], sets: Sequence[ArtSet], size: int, path: Path
) -> None:
    rgba: list[Pixels] = []
    owners: list[tuple[int, int]] = []
    for style, art in enumerate(sets):
        source = _sources(modules / art.package)
        found = [(i, key) for i, c in enumerate(concepts) if (key := _find(c, source)) is not None]
        with ThreadPoolExecutor(2) as pool:
            rgba += pool.map(_picture, [source[key] for _, key in found], repeat(size))
        owners += [(index, style) for index, _ in found]
    concept, styles = np.array(owners, dtype=np.int64).T
    part = path.with_suffix(f".{uuid4().hex}.npz")  # a kill leaves no half under the name
    np.savez_compressed(part, rgba=np.stack(rgba), concept=concept, style=styles)
    part.replace(path)


def _find(concept: Concept, source: dict[str, Path | str]) -> str | None:
    """Art sets name a picture by slug, by slug without hyphens, or by code points."""
    hexcode = concept.hexcode.lower()
    slug = concept.slug
    keys = (slug, slug.replace("-", ""), hexcode, f"{hexcode}-fe0f", hexcode.replace("-fe0f", ""))
    return next((key for key in keys if key in source), None)


def _sources(package: Path) -> dict[str, Path | str]:
    """Every picture of a package: SVG text for an icon set, a path for a folder of files."""
    assets = package / "assets"
    if assets.is_dir():
        return {path.stem: path for path in sorted(assets.glob("*.webp"))}
    icons = json.loads((package / "icons.json").read_text())
    return {name: _svg(icon, icons) for name, icon in icons["icons"].items()}


def _svg(icon: dict[str, str | int], icons: dict[str, int]) -> str:
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}" width="256" height="256">{icon["body"]}</svg>'
    )


def _picture(source: Path | str, size: int) -> Pixels:
    """One picture at `size` pixels, straight alpha; resized premultiplied so edges stay clean."""
    if isinstance(source, Path):
        image = Image.open(source).convert("RGBA")
    else:
        import resvg_py  # noqa: PLC0415  only the one run that rasterises needs it

        image = Image.open(io.BytesIO(resvg_py.svg_to_bytes(svg_string=source, width=256)))
    small = image.convert("RGBa").resize((size, size), Image.Resampling.BOX).convert("RGBA")
    return np.asarray(small)
