"""Small data sets without a network: drawn pictures with captions, and a synthetic emoji set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from models.train.data.emoji.art import ART_SETS, MODULES, NAMES, Art
from models.train.data.emoji.concepts import LIST, Concept, parse_list
from models.train.data.emoji.emoji_set import EmojiSet
from models.train.data.scenes.languages import CLDR
from models.train.data.scenes.things import LANGUAGES, load_things

_SHAPES = ("circle", "square", "cross")
_COLOURS = ("red", "green", "blue", "black")


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """Training flushes denormal numbers to zero; other tests' floats are to be IEEE's again."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 drawn pictures, each with a file of captions."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(24):
        shape, colour = _SHAPES[index % 3], _COLOURS[index % 4]
        image = Image.new("RGB", (80, 64), "white")
        draw = ImageDraw.Draw(image)
        box = (20 + index % 5, 12, 58, 50)
        (draw.ellipse if shape == "circle" else draw.rectangle)(box, fill=colour)
        image.save(folder / f"{index:02d}.png")
        (folder / f"{index:02d}.txt").write_text(f"{colour} {shape}\na {shape}\n")
    return folder


@pytest.fixture(scope="session")
def emoji_set() -> EmojiSet:
    """Forty concepts in every style, each a disc of its own colour on nothing."""
    concepts = tuple(
        Concept(f"thing {chr(97 + i % 26)}{i}", f"{i:04X}", "things", (), ("stuff",))
        for i in range(40)
    )
    y, x = np.mgrid[:16, :16]
    disc = (np.hypot(y - 7.5, x - 7.5) < 6)[..., None]
    rng = np.random.default_rng(0)
    rgba, owners = [], []
    for style in range(len(ART_SETS)):
        for concept in range(len(concepts)):
            colour = rng.integers(0, 256, 3)
            rgba.append(np.concatenate([disc * colour, disc * 255], axis=-1).astype(np.uint8))
            owners.append((concept, style))
    concept_ids, styles = np.array(owners).T
    return EmojiSet(Art(np.stack(rgba), concept_ids, styles, concepts))


@pytest.fixture(scope="session")
def art_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `load_art` and `open_scenes` fetch it: squares for forty things, and all names.

    Those in other languages are the English ones from back to front, unless things.txt has others.
    """
    cache = tmp_path_factory.mktemp("art")
    labels = [label for _, label, _ in parse_list(LIST.read_text("utf-8"))]
    for package, _ in [*((art.package, art.version) for art in ART_SETS), NAMES, CLDR]:
        (cache / MODULES / package).mkdir(parents=True)
        (cache / MODULES / package / "package.json").write_text("{}")
    rows = [{"label": label, "hexcode": f"{0x4E00 + i:04X}"} for i, label in enumerate(labels)]
    (cache / MODULES / NAMES[0] / "en").mkdir()
    (cache / MODULES / NAMES[0] / "en" / "data.json").write_text(json.dumps(rows))
    for language in ("en", *LANGUAGES):
        names = labels if language == "en" else [label[::-1] for label in labels]
        words = {chr(0x4E00 + i): {"tts": [name], "default": []} for i, name in enumerate(names)}
        path = cache / MODULES / CLDR[0] / "annotations" / language / "annotations.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"annotations": {"annotations": words}}))
    things = [labels.index(label) for label in list(load_things())[:40]]
    owners = np.array([(thing, style) for style in range(len(ART_SETS)) for thing in things])
    rgba = np.zeros((len(owners), 128, 128, 4), np.uint8)
    rgba[:, 16:-16, 16:-16, :3] = np.random.default_rng(0).integers(0, 256, (len(owners), 1, 1, 3))
    rgba[:, 16:-16, 16:-16, 3] = 255
    np.savez(cache / f"art-{128}.npz", rgba=rgba, concept=owners[:, 0], style=owners[:, 1])
    return cache
