"""Arrays and losses of DALL-E's family, computed again. Each is recorded for both sets of rules.

ru-DALL-E's versions 2 and 3 differ in rules alone, so one file of weights is recorded with both;
each function's name is the array's without its version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from models.configs.dalle import DalleConfig, ru_dalle_masks
from models.presets.dalle import second_version
from models.stage2.dalle import Dalle
from models.verify.check import LOGITS, Check, Facts, Result, Tie
from models.verify.recorded import AbsentError
from models.verify.subject import Subject, drawn_greedily

_LOSS = 1e-3
_VERSIONS = ("v2", "v3")


@torch.inference_mode()
def logits(subject: Subject, version: str) -> Tensor:
    """Of text tokens, then of image codes, at as many positions as were recorded."""
    codes = subject.recorded.tensor("tf_codes")
    num_positions = subject.recorded.arrays[f"{version}_logits"].shape[1]
    model = _stage2(subject, version)
    x = model.states(_ids(subject), codes)[:, :num_positions]
    return torch.cat((model.head_txt(x), model.head(x)), -1)


def greedy(subject: Subject, version: str) -> Tensor:
    return drawn_greedily(_stage2(subject, version), _ids(subject)).flatten(1)


@torch.inference_mode()
def rank_ppl(subject: Subject, version: str) -> Tensor:
    """The reference ranks both versions by the positions of version 3: in 2, by the code before."""
    model, codes = _stage2(subject, version), subject.recorded.tensor(f"{version}_greedy")
    if version == "v3":
        return model.perplexity(_ids(subject), codes)
    start = model.config.ctx_len_txt
    x = model.states(_ids(subject), codes)[:, start : start + codes.shape[1] - 1]
    losses = F.cross_entropy(model.head(x).mT, codes[:, 1:], reduction="none")
    return losses.exp().mean(1)


def losses(subject: Subject) -> Iterator[Result]:
    """The training loss of each version and its parts."""
    for version in _VERSIONS:
        wanted: dict[str, float] = subject.recorded.fact(f"{version}_loss")
        with torch.inference_mode():
            found = _losses(subject, version)
        for name, value in wanted.items():
            error = abs(found[name] - value) if name in found else float("inf")
            yield Result(f"{version}_loss.{name}", error, _LOSS)


def _losses(subject: Subject, version: str) -> dict[str, float]:
    """In version 3 the first code is scored by the logits of text tokens, as its labels stand."""
    model, ids = _stage2(subject, version), _ids(subject)
    codes = subject.recorded.tensor("tf_codes")
    image, text = model(ids, codes)
    text_targets = model.text_tokens(ids)[:, 1:]
    if version == "v3":
        last = model.head_txt(model.states(ids, codes[:, :0])[:, -1:])
        text, text_targets = torch.cat((text, last), 1), torch.cat((text_targets, codes[:, :1]), 1)
        image, codes = image[:, 1:], codes[:, 1:]
    of_text = float(F.cross_entropy(text.mT, text_targets))
    of_image = float(F.cross_entropy(image.mT, codes))
    return {"text": of_text, "image": of_image, "total": (of_text + 7 * of_image) / 8}


def _ids(subject: Subject) -> Tensor:
    return subject.recorded.tensor("text_ids")


def _stage2(subject: Subject, version: str) -> Dalle:
    """The checkpoint's weights by the rules of a version."""
    stage2 = subject.stage2
    if not isinstance(stage2, Dalle):
        raise AbsentError("a DALL-E")
    config = _by_version(stage2.config, version)
    with torch.device("meta"):
        model = Dalle(config)
    model.load_state_dict(stage2.state_dict(), assign=True)
    return model.eval()


def _by_version(config: DalleConfig, version: str) -> DalleConfig:
    third = replace(config, masks=ru_dalle_masks(config.n_layers), has_second_start=False)
    return second_version(third) if version == "v2" else third


def _checks(version: str) -> dict[str, Check]:
    def of(compute: Callable[[Subject, str], Tensor]) -> Callable[[Subject], Tensor]:
        return lambda subject: compute(subject, version)

    tie = Tie(f"{version}_greedy_margin", 2 * LOGITS, excuses="row")
    return {
        f"{version}_logits": Check(of(logits)),
        f"{version}_greedy": Check(of(greedy), tie=tie),
        f"{version}_rank_ppl": Check(of(rank_ppl), 1e-3),
    }


CHECKS = {name: check for version in _VERSIONS for name, check in _checks(version).items()}
INPUTS = {"text_ids", "tf_codes"}
FACTS: tuple[Facts, ...] = (losses,)
