"""Pictures made harder to know: turned, stretched, tinted, coarsened, partly hidden.

What a ranker has seen in a few drawings only, it is to know in others; so each time it sees one, it
sees it otherwise. Knows no data set and no model.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_COARSE, _HIDDEN, _GREY = 0.3, 0.4, 0.1  # how often, at full strength


def distorted(images: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Change each image [B, 3, H, W] in [-1, 1] at random; `strength` 0 leaves all as they are.

    The same words stay true of them: nothing is mirrored, and hues move little.
    """
    if not strength:
        return images
    moved = _moved(images, strength, rng)
    tinted = _tinted(moved * 0.5 + 0.5, strength, rng)
    return _spoilt(tinted, strength, rng) * 2 - 1


def _between(low: float, high: float, images: Tensor, rng: torch.Generator) -> Tensor:
    """A number of each image, [B, 1, 1, 1]."""
    return torch.rand(len(images), 1, 1, 1, generator=rng) * (high - low) + low


def _moved(images: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Turned, sheared, enlarged and shifted; what comes in is the colour of the edge."""

    def number(most: float, least: float | None = None) -> Tensor:
        low = -most if least is None else least
        return strength * _between(low, most, images, rng)[:, 0, 0, 0]

    turn, shear, scale = number(0.35), number(0.25), number(0.25, -0.35).exp()
    aspect = number(0.2).exp()
    across = torch.stack((turn.cos() / aspect, shear - turn.sin(), scale * number(0.15)), -1)
    down = torch.stack((turn.sin(), turn.cos() * aspect, scale * number(0.15)), -1)
    matrix = torch.stack((across, down), 1) / scale[:, None, None]
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _tinted(images: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """More or less of colour, contrast and light, and hues a little further round; in 0..1."""

    def number(most: float, least: float | None = None) -> Tensor:
        return strength * _between(-most if least is None else least, most, images, rng)

    grey = images.mean(1, keepdim=True)
    turned = _hue_turned(images, number(0.12)[:, :, 0, 0])
    coloured = grey + (turned - grey) * (1 + number(0.5, -0.6))
    return ((coloured - 0.5) * (1 + number(0.4)) + 0.5 + number(0.2)).clamp(0, 1)


def _hue_turned(images: Tensor, angle: Tensor) -> Tensor:
    """Colours turned about the grey axis by an angle [B, 1], in radians."""
    axis = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    cos, sin = angle.cos()[..., None], angle.sin()[..., None]
    turns = cos * torch.eye(3) + (1 - cos) / 3 + sin * axis
    return torch.einsum("bij,bjhw->bihw", turns, images)


def _spoilt(images: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Some at fewer pixels, some with a square hidden, some grey, all with noise; in 0..1."""
    made = torch.stack([_spoilt_one(image, strength, rng) for image in images])
    noise = torch.randn(images.shape, generator=rng)
    return made + noise * strength * _between(0, 0.06, images, rng)


def _spoilt_one(image: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    coarse, hidden, grey = (torch.rand(3, generator=rng) / strength).tolist()
    changed = _coarsened(image, rng) if coarse < _COARSE else image
    if grey < _GREY:
        changed = changed.mean(0, keepdim=True).expand_as(changed)
    return _hidden(changed, rng) if hidden < _HIDDEN else changed


def _coarsened(image: Tensor, rng: torch.Generator) -> Tensor:
    side = image.shape[-1]
    fewer = int(torch.randint(side // 4, max(side // 4, side * 3 // 4) + 1, (), generator=rng))
    small = F.interpolate(image[None], (fewer, fewer), mode="bilinear", antialias=True)
    return F.interpolate(small, image.shape[1:], mode="bilinear")[0]


def _hidden(image: Tensor, rng: torch.Generator) -> Tensor:
    """With a box of one colour, up to some four tenths a side, anywhere."""
    side = image.shape[-1]
    height, width = torch.randint(side // 8, side * 7 // 16 + 1, (2,), generator=rng).tolist()
    top, left = torch.randint(0, side * 4 // 5 + 1, (2,), generator=rng).tolist()
    covered = image.clone()
    covered[:, top : top + height, left : left + width] = torch.rand(3, 1, 1, generator=rng)
    return covered
