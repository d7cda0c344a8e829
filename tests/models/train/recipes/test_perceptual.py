"""LPIPS against torchvision's own VGG-16 layers, with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models import vgg

from models.errors import ConfigError, CorruptFileError, MissingFileError
from models.train.recipes.perceptual import load_perceptual

_SEEN = (3, 8, 15, 22, 29)  # the layers behind which LPIPS looks, the last of each resolution
_WIDTHS = (64, 128, 256, 512, 512)


def pictures(seed: int) -> Tensor:
    return torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def by_torchvision(layers: torch.nn.Sequential, lins: list[Tensor], *pair: Tensor) -> Tensor:
    """The paper's formula, layer by layer."""
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    one, other = ((x - shift[:, None, None]) / scale[:, None, None] for x in pair)
    total = torch.zeros(len(one))
    for place, layer in enumerate(layers):
        one, other = layer(one), layer(other)
        if place in _SEEN:
            difference = torch.nn.functional.normalize(one) - torch.nn.functional.normalize(other)
            lin = lins[_SEEN.index(place)]
            total += (difference.square() * lin.view(1, -1, 1, 1)).sum(1).mean((1, 2))
    return total


@torch.no_grad()
def test_it_is_the_papers_distance(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = vgg.make_layers(vgg.cfgs["D"])
    lins = [torch.rand(1, width, 1, 1) for width in _WIDTHS]
    state = {f"features.{name}": value for name, value in layers.state_dict().items()}
    state |= {f"lin{i}.model.1.weight": lin for i, lin in enumerate(lins)}
    torch.save(state, tmp_path / "vgg.pt")
    perceptual = load_perceptual(tmp_path / "vgg.pt", weight=2.0)
    one, other = pictures(0), pictures(1)
    expected = by_torchvision(layers, lins, one, other)
    assert float(expected.min()) > 0.01
    torch.testing.assert_close(perceptual.distance(one, other), expected)
    torch.testing.assert_close(perceptual.loss(0, one, other, one), 2 * expected.mean())
    assert perceptual.distance(one, one).tolist() == [0, 0]


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.pt"):
        load_perceptual(tmp_path / "none.pt")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ConfigError, match=r"features\.0\.weight is missing"):
        load_perceptual(tmp_path / "other.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "other.pt").read_bytes()[:300])
    with pytest.raises(CorruptFileError, match=r"cut\.pt"):
        load_perceptual(tmp_path / "cut.pt")
