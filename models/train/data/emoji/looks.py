"""How a picture may be varied: recolours, backgrounds and finishes, each with its words.

Pure functions on float pixels in [0, 1]. Knows nothing of concepts, captions or splits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 40, 45),
    "orange": (250, 140, 20),
    "yellow": (253, 212, 50),
    "green": (60, 170, 70),
    "blue": (45, 115, 225),
    "purple": (140, 75, 200),
    "pink": (250, 130, 185),
    "brown": (135, 85, 50),
    "black": (50, 50, 55),
    "gray": (150, 150, 155),
    "white": (240, 240, 242),
}
# Softer than COLOURS, so that a blue thing still shows on a blue background.
BACKGROUND_COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (235, 90, 90),
    "orange": (250, 175, 90),
    "yellow": (255, 235, 130),
    "green": (140, 210, 130),
    "blue": (130, 185, 245),
    "purple": (185, 145, 230),
    "pink": (255, 190, 215),
    "black": (30, 30, 35),
    "gray": (185, 185, 190),
}
# Scenes: colour at the top, at the horizon, below it, and at the bottom.
_SCENES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "night": ((15, 20, 55), (40, 45, 100), (40, 45, 100), (60, 60, 125)),
    "grass": ((150, 205, 250), (220, 240, 255), (125, 195, 85), (75, 155, 55)),
    "sunset": ((120, 80, 160), (255, 140, 90), (255, 165, 80), (255, 210, 110)),
    "snow": ((165, 200, 235), (205, 225, 245), (240, 246, 252), (225, 236, 248)),
    "sea": ((155, 215, 250), (225, 245, 255), (55, 150, 215), (20, 90, 170)),
}
BACKGROUNDS = (*BACKGROUND_COLOURS, *_SCENES)
FINISHES = ("silhouette", "grayscale")
_HORIZON = 0.62


def is_scene(background: str) -> bool:
    """A scene has words of its own ("at night"); the rest are "on a … background"."""
    return background in _SCENES


def luminance(rgb: Floats) -> Floats:
    """Rec. 601 brightness of [..., 3]."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray(rgb @ weights, np.float32)


def _hue(rgb: Floats) -> Floats:
    """Angle in radians on the opponent-colour plane."""
    r, g, b = np.moveaxis(rgb, -1, 0)
    return np.asarray(np.arctan2(np.sqrt(3) * (g - b), 2 * r - g - b), np.float32)


def dominant(rgba: Floats) -> Floats:
    """How much each pixel [H, W] belongs to the picture's main colour, 0 to 1.

    The main colour is the most common hue by area and chroma; for a picture without much colour it
    is everything that is opaque. Where it covers little (a white rocket with red fins), white, grey
    and black count as well.
    """
    rgb, alpha = rgba[..., :3], rgba[..., 3]
    chroma = np.ptp(rgb, axis=-1)
    weight = chroma * alpha
    if weight.sum() < 0.15 * alpha.sum():
        return np.ones_like(alpha)
    hue = _hue(rgb)
    bins = ((hue + np.pi) / (2 * np.pi) * 24).astype(int) % 24
    counts = np.bincount(bins.ravel(), weight.ravel(), 24)
    smooth = counts + 0.7 * (np.roll(counts, 1) + np.roll(counts, -1))
    centre = (smooth.argmax() + 0.5) / 24 * 2 * np.pi - np.pi
    distance = np.abs(np.angle(np.exp(1j * (hue - centre))))
    strong = np.clip(chroma / 0.12 - 0.4, 0, 1)
    mask = np.clip((0.95 - distance) / 0.25, 0, 1) * strong
    if (mask * alpha).sum() < 0.45 * alpha.sum():
        mask = np.maximum(mask, 1 - strong)
    return np.asarray(mask, np.float32)


def recolour(rgba: Floats, colour: str) -> Floats:
    """Paint the main colour of a picture [H, W, 4] in another, keeping light and shade."""
    rgb, mask = rgba[..., :3], dominant(rgba)
    light = luminance(rgb)
    weight = mask * rgba[..., 3]
    middle = float((light * weight).sum() / max(weight.sum(), 1e-6))
    ratio = np.clip(light / max(middle, 0.08), 0, 2)[..., None]
    target = np.array(COLOURS[colour], np.float32) / 255
    dark = target * np.minimum(ratio, 1)
    painted = dark + (1 - dark) * 0.55 * np.maximum(ratio - 1, 0)
    mixed = rgb + (np.clip(painted, 0, 1) - rgb) * mask[..., None]
    return np.concatenate([mixed, rgba[..., 3:]], axis=-1).astype(np.float32)


def main_colour(rgba: Floats) -> str:
    """The colour word nearest to a picture's main colour."""
    weight = (dominant(rgba) * rgba[..., 3])[..., None]
    mean = (rgba[..., :3] * weight).sum((0, 1)) / max(float(weight.sum()), 1e-6)
    names = list(COLOURS)
    table = np.array([COLOURS[name] for name in names], np.float32) / 255
    return names[int(np.square(table - mean).sum(1).argmin())]


def finish(rgba: Floats, name: str) -> Floats:
    """A picture as a black silhouette, or without colour."""
    light = luminance(rgba[..., :3]) if name == "grayscale" else np.full(rgba.shape[:2], 0.08)
    grey = np.repeat(light[..., None], 3, axis=-1)
    return np.concatenate([grey, rgba[..., 3:]], axis=-1).astype(np.float32)


def background(name: str | None, size: int) -> Floats:
    """What stands behind a picture, [size, size, 3]; white without a name."""
    if name is None:
        return np.ones((size, size, 3), np.float32)
    if name in BACKGROUND_COLOURS:
        plain = np.array(BACKGROUND_COLOURS[name], np.float32) / np.float32(255)
        return np.tile(plain, (size, size, 1))
    return _scene(name, size)


def stripes(stops: tuple[tuple[int, int, int], ...], size: int) -> Floats:
    """A sky over a ground [size, size, 3], from colours as in `_SCENES`."""
    colours = np.array(stops, np.float32) / 255
    at = (0, _HORIZON, _HORIZON + 1e-3, 1)
    heights = np.linspace(0, 1, size)
    column = np.stack([np.interp(heights, at, colours[:, c]) for c in range(3)], axis=-1)
    return np.repeat(column[:, None], size, axis=1).astype(np.float32)


def _scene(name: str, size: int) -> Floats:
    image = stripes(_SCENES[name], size)
    if name == "night":
        stars = np.random.default_rng(7).integers(0, size - 1, (14, 2))
        for y, x in stars:
            image[y : y + 2, x : x + 2] = (1, 1, 0.85)
    return image


def compose(rgba: Floats, behind: Floats) -> Floats:
    """Lay a picture over a background → [H, W, 3]."""
    alpha = rgba[..., 3:]
    return np.asarray(rgba[..., :3] * alpha + behind * (1 - alpha), np.float32)
