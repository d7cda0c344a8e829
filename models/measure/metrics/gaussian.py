"""Features taken as one Gaussian, and the Fréchet distance between two (Heusel et al. 2017).

Gathered a batch at a time, so that memory does not grow with the pictures. Knows no network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from models.errors import ConfigError


class Gaussian:
    """Mean and covariance of all features so far, in float64 on the CPU."""

    def __init__(self) -> None:
        self.num = 0
        self._shift = torch.zeros(0, dtype=torch.float64)  # the first batch's mean: keeps digits
        self._sum = torch.zeros(0, dtype=torch.float64)
        self._products = torch.zeros(0, 0, dtype=torch.float64)
        self._told: tuple[Tensor, Tensor] | None = None

    @classmethod
    def read(cls, path: Path) -> Self:
        """From an .npz of `mu` and `sigma`, as FID tools keep their statistics.

        Raises:
            ConfigError: it is none.
        """
        made = cls()
        try:
            with path.open("rb") as opened, np.load(opened) as file:
                mean, covariance = (torch.from_numpy(file[key]).double() for key in ("mu", "sigma"))
        except (ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise ConfigError(f"{path}: no statistics with mu and sigma: {error}") from None
        if covariance.shape != (len(mean), len(mean)):
            raise ConfigError(f"{path}: mu and sigma are of different features")
        made._told = mean, covariance
        return made

    def add(self, features: Tensor) -> None:
        """Take in features [n, E], n ≥ 1."""
        found = features.double().cpu()
        if not self.num:
            self._shift = found.mean(0)
            self._sum = torch.zeros_like(self._shift)
            self._products = self._shift.new_zeros(len(self._shift), len(self._shift))
        found = found - self._shift
        self.num += len(found)
        self._sum += found.sum(0)
        self._products += found.T @ found

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean [E] and covariance [E, E], of at least two features."""
        if self._told is not None:
            return self._told
        mean = self._sum / self.num
        covariance = (self._products - self.num * torch.outer(mean, mean)) / (self.num - 1)
        return self._shift + mean, covariance

    def distance(self, other: Gaussian) -> float:
        """The squared 2-Wasserstein distance. ConfigError for features of other networks."""
        (mean, covariance), (other_mean, other_covariance) = self.moments, other.moments
        if mean.shape != other_mean.shape:
            raise ConfigError(
                f"features of {len(mean)} and of {len(other_mean)} numbers: sets are compared in"
                " the eyes of one network, see --features"
            )
        values, vectors = torch.linalg.eigh(covariance)
        root = vectors * values.clamp(min=0).sqrt() @ vectors.T
        cross = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp(min=0).sqrt().sum()
        spread = covariance.trace() + other_covariance.trace() - 2 * cross
        return float((mean - other_mean).square().sum() + spread)
