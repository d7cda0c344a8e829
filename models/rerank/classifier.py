"""A classifier as a ranker: how probable a picture's class is, to one that learnt to tell classes.

The rejection sampling of the RQ paper (Lee et al. 2022) uses torchvision's ResNet-101 so. Weights
are a file in the checkpoint folder, torchvision's own or safetensors; nothing is fetched.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from models.configs.prior import Prompt
from models.configs.rankers import ClassifierConfig
from models.errors import ConfigError, KeyMismatchError, KeyReport
from models.files.weights import shapes
from models.rerank.clip_files import read_weights
from models.rerank.preprocess import Preprocess

# As torchvision documents for its classifiers of ImageNet.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_COUNTER = "num_batches_tracked"  # the end of a name: of training; older files lack it


class Classifier:
    """The `Ranker` of class prompts: scores pictures by the probability of the class."""

    def __init__(
        self, network: nn.Module, preprocess: Preprocess, device: torch.device | str = "cpu"
    ) -> None:
        self._network = network
        self._preprocess = preprocess
        self._device = device

    def features(self, prompt: Prompt) -> Tensor | None:
        """See `Ranker`: the class itself, None for what is none."""
        return torch.tensor(prompt) if isinstance(prompt, int) else None

    @torch.inference_mode()
    def scores(self, features: Tensor, pixels: Tensor, codes: Tensor | None = None) -> Tensor:
        """Probability [n] of the class in each picture [n, 3, H, W], float32 on the CPU.

        It doesn't look at the codes.
        """
        if not len(pixels):
            return torch.zeros(0)
        logits = self._preprocess.through(self._logits, pixels)
        return logits.softmax(-1)[:, int(features)]

    def _logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self._network(images.to(self._device)).cpu()
        return logits


def load(
    config: ClassifierConfig, folder: Path, num_classes: int, device: torch.device | str = "cpu"
) -> Classifier:
    """Load the classifier of a checkpoint folder, in float32.

    Raises:
        CheckpointError: the file is missing, damaged, or of another network or other classes.
    """
    path = folder / config.weights
    state = read_weights(path, rf".*\.{_COUNTER}")[0]
    network = _build(config.model_name, num_classes)
    _load_state(network, state, path)
    network.eval().requires_grad_(False)
    preprocess = Preprocess(config.size, _MEAN, _STD, config.short_side, Image.Resampling.BILINEAR)
    return Classifier(network.to(device), preprocess, device)


def _load_state(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    needed = {name: shape for name, shape in shapes(network).items() if not name.endswith(_COUNTER)}
    found = {name: tuple(t.shape) for name, t in state.items() if not name.endswith(_COUNTER)}
    report = KeyReport.compare(needed, found)
    if not report.is_clean:
        raise KeyMismatchError(str(path), report)
    network.load_state_dict(state, strict=False)  # compared above


def _build(name: str, num_classes: int) -> nn.Module:
    from torchvision import models  # noqa: PLC0415 - takes seconds, and few workers have one

    if name not in models.list_models(models, include="resnet*"):
        raise ConfigError(f"classifier.model_name: torchvision has no {name!r} among its ResNets")
    network: nn.Module = models.get_model(name, weights=None, num_classes=num_classes)
    return network
