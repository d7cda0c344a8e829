"""What a checkpoint computes, array by array, for comparison with numbers recorded elsewhere.

Arrays of minDALL-E, ImageGPT and their VQGAN, and what expected.json says of them: each function is
called as its array. A family whose arrays mean something else has a file of its own beside this one
and calls its checks `family/array`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.drawing.sampling import Filters, RowParams, probabilities
from models.errors import KeyReport
from models.families import prior_family, upstream_shapes
from models.files.checkpoint import Checkpoint, load_stage2, open_checkpoint
from models.files.weights import place, shapes
from models.verify.check import LOGITS, Check, Facts, Result, Tie
from models.verify.recorded import AbsentError, Recorded
from models.verify.subject import Subject
from models.verify.walk import through_the_state

_GRADIENT = 1e-3  # relative, beside an absolute floor for gradients that are zero but for rounding
_GRADIENT_FLOOR = 1e-6
_CACHED = ("cached_logits_img", "cached_logits")


def token_ids(subject: Subject) -> Tensor:
    return subject.encode(subject.recorded.fact("prompts"))


def tf_logits(subject: Subject) -> Tensor:
    return _teacher_forced(subject)[0]


def tf_logits_txt(subject: Subject) -> Tensor:
    text = _teacher_forced(subject)[1]
    if text is None:
        raise AbsentError("a text head")
    return text


@torch.inference_mode()
def _teacher_forced(subject: Subject) -> tuple[Tensor, Tensor | None]:
    """Image and text logits of the recorded codes."""
    codes = subject.recorded.tensor("tf_codes")
    return subject.whole.forward(_forced_prefixes(subject).expand(len(codes), -1), codes)


def _forced_prefixes(subject: Subject) -> Tensor:
    is_text = subject.preset.prompt_kind == "text"
    return subject.prefixes("tf_tokens" if is_text else "tf_labels")


@torch.inference_mode()
def cached_logits(subject: Subject) -> Tensor:
    prefixes, codes = _forced_prefixes(subject), subject.recorded.tensor("tf_codes")
    recorded = next(subject.recorded.arrays[n] for n in _CACHED if n in subject.recorded.arrays)
    pairs = zip(prefixes.expand(len(codes), -1), codes[: len(recorded), :, None], strict=False)
    rows = [torch.cat(through_the_state(subject.prior, *pair)) for pair in pairs]
    return torch.stack(rows)[:, : recorded.shape[1]]  # [n, T, V]


def greedy_codes(subject: Subject) -> Tensor:
    return subject.draw_greedily(subject.greedy_prefixes()).flatten(1)


def filt_probs(subject: Subject) -> Tensor:
    logits = subject.recorded.tensor("filt_logits")
    size, config = logits.shape[-1], subject.preset.stage2
    is_closed, rows = prior_family(config).closed_nucleus(config), []
    for temperature, top_k, top_p in subject.recorded.tensor("filt_params").tolist():
        params = RowParams(
            seed=0,
            temperature=temperature,
            top_k=int(top_k) if top_k >= 0 else None,
            top_p=top_p if top_p >= 0 else None,
        )
        every = [params] * len(logits)
        filters = Filters.of(every, size, logits.device, closed_nucleus=is_closed)
        rows.append(probabilities(logits, filters).float())
    return torch.stack(rows)


def _without_order_in_ties(probs: NDArray[Any], recorded: Recorded) -> NDArray[Any]:
    """Probabilities [C, R, V], those of equal logits sorted wherever a nucleus is cut.

    Which of equal logits such a cut leaves is the sort's choice; how many, and what each gets then,
    is not.
    """
    logits, top_p = recorded.arrays["filt_logits"], recorded.arrays["filt_params"][:, 2]
    order = np.lexsort((probs, np.broadcast_to(logits, probs.shape)), axis=-1)
    is_cut = (top_p >= 0)[:, None, None]
    return np.where(is_cut, np.take_along_axis(probs, order, -1), probs)


@torch.inference_mode()
def dec_raw(subject: Subject) -> Tensor:
    return subject.raw.decode(subject.recorded.tensor("dec_codes"))


@torch.inference_mode()
def dec_pixels(subject: Subject) -> Tensor:
    codes = subject.recorded.tensor("dec_codes")
    return subject.codec.pixels(codes.view(len(codes), *subject.codec.code_shape))


@torch.inference_mode()
def enc_prequant(subject: Subject) -> Tensor:
    return subject.raw.features(subject.recorded.tensor("enc_images"))


def enc_codes(subject: Subject) -> Tensor:
    return subject.encoded.view_as(subject.recorded.tensor("enc_codes"))


@torch.inference_mode()
def enc_recon_raw(subject: Subject) -> Tensor:
    return subject.raw.decode(enc_codes(subject))


@torch.inference_mode()
def e2e_pixels(subject: Subject) -> Tensor:
    fact, kind = subject.recorded.fact, subject.preset.prompt_kind
    if kind == "text":
        prefix = subject.encode([fact("e2e", "prompt")])
    else:
        prefix = torch.tensor([[fact("e2e", "cls_idx") if kind == "class" else 0]])
    return subject.codec.pixels(subject.draw_greedily(prefix))


def train_loss(subject: Subject) -> Tensor:
    return _training_loss(subject).detach()


def _training_loss(subject: Subject) -> Tensor:
    codes = subject.encoded.flatten(1)
    prefix = subject.prefixes("train_labels").expand(len(codes), -1)
    return subject.whole.loss(prefix, codes)


def train_grad_norm(subject: Subject) -> Iterator[Result]:
    """Of the training loss, per upstream parameter."""
    subject.recorded.tensor("train_loss")  # sets with other losses have checks of their own
    wanted: dict[str, float | None] = subject.recorded.fact("train_grad_norm")
    yield gradient_errors(subject, wanted, lambda: _training_loss(subject))


def gradient_errors(
    subject: Subject, wanted: Mapping[str, float | None], loss: Callable[[], Tensor]
) -> Result:
    """The L2 norms of a loss's gradients by stage 2's upstream names; None where there is none."""
    found = _gradient_norms(subject, loss)
    errors = {}
    for name, norm in wanted.items():
        ours = found.get(name, np.inf if norm else 0.0)
        errors[name] = max(abs(ours - (norm or 0)) - _GRADIENT_FLOOR, 0) / max(norm or 0, 1e-12)
    worst = max(errors, key=lambda name: errors[name])
    return Result("train_grad_norm", errors[worst], _GRADIENT, f"relative, worst at {worst}")


def _gradient_norms(subject: Subject, loss: Callable[[], Tensor]) -> dict[str, float]:
    """L2 norm of the loss's gradient per upstream parameter of stage 2."""
    model = subject.stage2.requires_grad_(True)
    try:
        loss().backward()  # type: ignore[no-untyped-call]  # torch has no types here
        norms: dict[str, float] = {}
        for name, parameter in model.named_parameters():
            names = upstream_shapes(subject.preset.stage2, {name: tuple(parameter.shape)})
            gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            for part, piece in zip(names, gradient.chunk(len(names)), strict=True):
                norms[part] = float(piece.norm())
        return norms
    finally:
        model.zero_grad(set_to_none=True)
        model.requires_grad_(False)


def transfer_logits(subject: Subject) -> Tensor:
    """Logits of a model that took over an upstream text model's weights, its own head aside."""
    fresh = {
        "head.weight": subject.recorded.tensor("transfer_head_weight"),
        "sos.weight": subject.recorded.tensor("transfer_sos").flatten(0, -2),
    }
    state = load_stage2(_upstream(subject.recorded)).state_dict()
    model = subject.checkpoint.module("stage2")
    for name in shapes(model):
        place(model, name, fresh[name] if name in fresh else state[name])
    length = subject.recorded.arrays["transfer_logits"].shape[1]
    codes = subject.recorded.tensor("tf_codes")[:1]
    with torch.inference_mode():
        image: Tensor = model.eval()(subject.prefixes("tf_labels")[:1], codes)[0]
    return image[:, :length]


def transfer_keys(subject: Subject) -> Iterator[Result]:
    """Which of the upstream text model's keys are taken over, and which stay fresh."""
    source, recorded = _upstream(subject.recorded), subject.recorded.fact("transfer")
    needed = upstream_shapes(subject.preset.stage2, shapes(subject.stage2))
    found = upstream_shapes(source.preset.stage2, shapes(source.module("stage2")))
    report = KeyReport.compare(needed, found)
    wrong = set(report.missing) ^ set(recorded.get("missing", report.missing))
    wrong |= set(report.unexpected) ^ set(recorded.get("unexpected", report.unexpected))
    yield Result("transfer keys", len(wrong), 0, ", ".join(sorted(wrong)))


def _upstream(recorded: Recorded) -> Checkpoint:
    """The text model that the transfer numbers started from."""
    folder = recorded.folder / recorded.fact("transfer", "upstream")
    if not folder.is_dir():
        raise AbsentError(f"the upstream folder {folder}")
    return open_checkpoint(folder)


def named_checks(
    array: str,
    names: Iterable[str],
    compute: Callable[[Subject, str], Tensor],
    margin: str = "",
    least: float = 0,
) -> dict[str, Check]:
    """A check of an array that was recorded by several names, such as one a level."""

    def check(name: str) -> Check:
        tie = Tie(f"{margin}_{name}", least, "row") if margin else None
        return Check(lambda subject: compute(subject, name), tie=tie)

    return {f"{array}_{name}": check(name) for name in names}


CHECKS = {
    "token_ids": Check(token_ids),
    "tf_logits": Check(tf_logits),
    "tf_logits_img": Check(tf_logits),
    "tf_logits_txt": Check(tf_logits_txt),
    "cached_logits": Check(cached_logits),
    "cached_logits_img": Check(cached_logits),
    "greedy_codes": Check(greedy_codes, tie=Tie("greedy_margin", 2 * LOGITS, excuses="row")),
    "filt_probs": Check(filt_probs, 1e-5, align=_without_order_in_ties),
    "dec_raw": Check(dec_raw),
    "dec_pixels": Check(dec_pixels),
    "enc_prequant": Check(enc_prequant),
    "enc_codes": Check(enc_codes, tie=Tie("enc_margin", 1e-4)),
    "enc_recon_raw": Check(enc_recon_raw),
    "e2e_pixels": Check(e2e_pixels),
    "train_loss": Check(train_loss, 1e-3),
    "transfer_logits": Check(transfer_logits),
}
INPUTS = {
    *("tf_tokens", "tf_codes", "tf_labels", "greedy_prompt_index", "greedy_labels"),
    *("filt_logits", "filt_params", "dec_codes", "enc_images", "train_labels"),
    *("train_images_are_enc_images", "transfer_head_weight", "transfer_sos"),
}
FACTS: tuple[Facts, ...] = (train_grad_norm, transfer_keys)
