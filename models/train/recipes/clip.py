"""How the small CLIP that re-ranks learns.

An open_clip model of our own configuration that reads the image model's text ids. The loss is
CLIP's (Radford et al. 2021) with one change: captions that say the same share their pictures.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import field, make_dataclass
from inspect import signature
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from models.errors import ConfigError
from models.files.checked import checked
from models.rerank.clip_files import OPENAI_MEAN, OPENAI_STD
from models.tokenizer import Tokenizer
from models.train.data.data_set import DataSet, Variant, rendered
from models.train.data.tokens import CONTEXT_LENGTH, ids_of
from models.train.loop.engine import Engine
from models.train.loop.learner import Learner
from models.train.loop.muon import optimisers
from models.train.loop.precision import autocast
from models.train.loop.schedule import Schedule

PATCHES = 8  # a side
_MAX_SCALE = 100.0
_AVERAGE = 0.995
_LOOKED_UP = ("embedding", "text_projection", "visual.proj", "logit_scale")


def description(vocab_size: int, image_size: int = 64) -> dict[str, Any]:
    """The model as open_clip's folder form has it; "tokenizer" says whose text ids it reads.

    Any size of picture is looked at in 8×8 patches, unless changed: what tells one thing from
    another is its shape, and attention's time grows with the patches.
    """
    model_cfg = {
        "embed_dim": 128,
        "vision_cfg": {
            "image_size": image_size,
            "patch_size": image_size // PATCHES,
            "width": 128,
            "layers": 4,
            "head_width": 32,
        },
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": vocab_size,
            "width": 128,
            "heads": 4,
            "layers": 3,
            "pool_type": "last",
        },
    }
    preprocess_cfg = {"mean": list(OPENAI_MEAN), "std": list(OPENAI_STD)}
    return {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg, "tokenizer": "checkpoint"}


def build(document: dict[str, Any]) -> Any:
    """open_clip's model of a description, with fresh weights.

    Raises:
        ConfigError: a key or a type that it doesn't have; or it can't be built, in its own words.
    """
    import open_clip  # noqa: PLC0415  takes seconds, and only this command needs it

    checked(_shape_of(open_clip.CLIP), document["model_cfg"], "--shape")
    try:
        return open_clip.CLIP(**document["model_cfg"])
    except (AssertionError, ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error) or "it knows no such value"
        raise ConfigError(f"--shape: open_clip can't build this: {reason}") from error


def _shape_of(model: Callable[..., object]) -> type[Any]:
    """A dataclass of what a model is built by, but for what no document can hold."""
    fields = []
    for one in signature(model).parameters.values():
        default = {} if one.default is one.empty else {"default": one.default}
        fields.append((one.name, one.annotation, field(**default)))
    return make_dataclass("Shape", [one for one in fields if one[0] != "cast_dtype"])


def prepare(images: Tensor) -> Tensor:
    """Pixels in [-1, 1] → what the image tower takes."""
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (OPENAI_MEAN, OPENAI_STD))
    return (images * 0.5 + 0.5 - mean) / std


def disturb(images: Tensor, rng: torch.Generator) -> Tensor:
    """Blur, shift and tint a batch [B, 3, H, W] at random, as generated pictures are not clean."""
    images = images.clone()
    for index in range(len(images)):
        blur, dy, dx = torch.randint(0, 5, (3,), generator=rng).tolist()
        picture = images[index : index + 1]
        if blur < 2:
            picture = F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, 1)
        images[index] = torch.roll(picture[0], (dy - 2, dx - 2), (1, 2))
    noise = torch.randn(len(images), 3, 1, 1, generator=rng)
    return images + 0.04 * noise


def matches(variants: list[Variant], data: DataSet) -> Tensor:
    """Which captions [B, B] say the same as which pictures; each row sums to 1."""
    keys = [data.meaning(variant) for variant in variants]
    ids = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    index = torch.tensor([ids[key] for key in keys])
    same = (index[:, None] == index[None, :]).float()
    return same / same.sum(1, keepdim=True)


def contrastive_loss(image: Tensor, text: Tensor, scale: Tensor, targets: Tensor) -> Tensor:
    """Both directions of CLIP's cross-entropy over unit features [B, E]."""
    logits = scale * image @ text.T
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


class ClipTrainer:
    """The update of a run, at `rate` times the recipe's learning rates."""

    def __init__(
        self, model: Any, schedule: Schedule, engine: Engine, *, rate: float = 1.0
    ) -> None:
        self.model, self.engine = model, engine
        self.learner = Learner(
            model,
            self._loss,
            lambda own: optimisers(own, 0.01 * rate, 1e-3 * rate, _LOOKED_UP),
            schedule,
            decay=_AVERAGE,
            engine=engine,
        )

    def step(self, step: int, images: Tensor, ids: Tensor, targets: Tensor) -> dict[str, float]:
        """One update on prepared images [B, 3, H, W], text ids [B, N] and `matches`."""
        scale = float(self._scale().detach())
        given = [value.to(self.engine.device) for value in (images, ids, targets)]
        loss = self.learner.update(step, [lambda: self.learner.compute(*given)])
        return {"loss": loss, "scale": scale}

    def _loss(self, images: Tensor, ids: Tensor, targets: Tensor) -> Tensor:
        with autocast(self.engine.precision, self.engine.device.type):
            image = self.model.encode_image(images, normalize=True)
            text = self.model.encode_text(ids, normalize=True)
        return contrastive_loss(image.float(), text.float(), self._scale(), targets)

    def _scale(self) -> Tensor:
        scale: Tensor = self.model.logit_scale.exp().clamp(max=_MAX_SCALE)
        return scale


@torch.no_grad()
def retrieval(model: Any, data: DataSet, tokenizer: Tokenizer) -> dict[str, float]:
    """Top-1 and top-5 of held-out pictures among all names, on the model's device.

    Empty where no picture is held out.
    """
    if not data.held_out:
        return {}
    device = model.logit_scale.device
    labels = ids_of(tokenizer, data.names())
    text = model.encode_text(labels.to(device), normalize=True)
    images = prepare(rendered(data, map(Variant, data.held_out)))
    scores = model.encode_image(images.to(device), normalize=True) @ text.T
    truth = torch.tensor([data.name_of(image) for image in data.held_out]).to(device)
    first, five = hits(scores, truth)
    return {"val_top1": first, "val_top5": five}


def hits(scores: Tensor, truth: Tensor) -> tuple[float, float]:
    """Shares of rows of scores [n, N] whose true column [n] is first, and among the first five."""
    best = scores.topk(min(5, scores.shape[1]), dim=1).indices
    found = best == truth[:, None]
    return float(found[:, 0].float().mean()), float(found.any(1).float().mean())


def batch(
    data: DataSet, tokenizer: Tokenizer, variants: list[Variant], rng: Random
) -> tuple[Tensor, Tensor, Tensor]:
    """Images in [-1, 1], text ids and targets of variants, with random captions."""
    images = rendered(data, variants)  # first: a broken one's caption is that of its stand-in
    ids = ids_of(tokenizer, (data.caption(v, rng) for v in variants))
    return images, ids, matches(variants, data)


def save(folder: Path, weights: dict[str, Tensor], document: dict[str, Any]) -> None:
    """Write the model as the checkpoint folder's clip/ has it, in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(document, indent=2) + "\n")
    half = {name: value.half().contiguous() for name, value in weights.items()}
    save_file(half, folder / "clip.safetensors")
