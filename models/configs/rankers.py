"""What ranks a model's pictures, as dataclasses: a CLIP for texts, a classifier for classes.

Knows no torch. `weights` are files inside the checkpoint folder.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.configs.numbers import Amount, Size


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """Which open_clip model re-ranks.

    `config` names an open_clip JSON config inside the checkpoint folder, for models that open_clip
    does not know by name. A score is the picture's similarity to the text and, `likelihood_weight`
    times, what the prior thinks of its codes: their log-likelihood, nats per code.
    """

    model_name: str
    weights: str
    config: str | None = None
    likelihood_weight: Amount = 0.0


@dataclass(frozen=True, slots=True)
class ClassifierConfig:
    """Which of torchvision's ResNets ranks a class's pictures.

    A picture's shorter side becomes `short_side`, the middle `size`² are looked at: torchvision
    documents 256 and 224 for its first weights, 232 and 224 for the second ones.
    """

    weights: str
    model_name: str = "resnet101"
    short_side: Size = 256
    size: Size = 224


# Torchvision's first weights, which the authors of RQ ranked with; under torchvision's file name.
IMAGENET_CLASSIFIER = ClassifierConfig("classifier/resnet101-63fe2227.pth")
