"""LPIPS (Zhang et al. 2018): how different two pictures look to a VGG-16, from local weights.

The file is a state dict as the `lpips` package's `LPIPS(net="vgg")` has it, or torchvision's VGG-16
with the five `lin` layers beside. Nothing is ever fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch.nn.functional as F
from torch import Tensor

from models.errors import ConfigError
from models.files.pickles import read_state_dict
from models.train.loop.learner import Stateful

# Between two max-poolings each: where the convolutions stand in torchvision's list of layers.
_CONVOLUTIONS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Perceptual:
    """See `Critic`; it never learns, so it has no state."""

    state: Mapping[str, Stateful] = MappingProxyType({})

    def __init__(self, weights: Mapping[str, Tensor], weight: float = 1.0) -> None:
        """Begin with a state dict; KeyError names what it lacks."""
        self.weight = weight
        self.groups = [
            [
                (_of(weights, slice_, at, "weight"), _of(weights, slice_, at, "bias"))
                for at in places
            ]
            for slice_, places in enumerate(_CONVOLUTIONS, 1)
        ]
        self.lins = [weights[f"lin{i}.model.1.weight"].float() for i in range(len(_CONVOLUTIONS))]

    def distance(self, one: Tensor, other: Tensor) -> Tensor:
        """Of pictures in [-1, 1] [B, 3, H, W], one number each [B]."""
        total = one.new_zeros(len(one))
        for lin, a, b in zip(self.lins, self._features(one), self._features(other), strict=True):
            difference = (_unit(a) - _unit(b)).square()
            total = total + F.conv2d(difference, lin.to(one.device)).mean((1, 2, 3))
        return total

    def loss(self, step: int, made: Tensor, images: Tensor, so_far: Tensor) -> Tensor:
        """See Critic."""
        return self.weight * self.distance(made, images).mean()

    def learn(self, step: int, made: Tensor, images: Tensor) -> dict[str, float]:
        """See Critic: nothing to learn."""
        return {}

    def _features(self, pictures: Tensor) -> list[Tensor]:
        shift, scale = (pictures.new_tensor(v).view(3, 1, 1) for v in (_SHIFT, _SCALE))
        x, found = (pictures - shift) / scale, []
        for number, group in enumerate(self.groups):
            x = F.max_pool2d(x, 2) if number else x
            for weight, bias in group:
                x = F.relu(F.conv2d(x, weight.to(x.device), bias.to(x.device), padding=1))
            found.append(x)
        return found


def load_perceptual(path: Path, weight: float = 1.0) -> Perceptual:
    """Read the weights.

    Raises:
        CheckpointError: there is no such file, it is damaged, or it holds something else.
    """
    try:
        return Perceptual(read_state_dict(path), weight)
    except KeyError as error:
        raise ConfigError(f"{path} holds no LPIPS weights: {error.args[0]} is missing") from error


def _of(weights: Mapping[str, Tensor], slice_: int, place: int, kind: str) -> Tensor:
    """One of a convolution's, by the package's name or torchvision's."""
    name = f"net.slice{slice_}.{place}.{kind}"
    return weights[name if name in weights else f"features.{place}.{kind}"].float()


def _unit(features: Tensor) -> Tensor:
    """Each position's vector, of length 1."""
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)
