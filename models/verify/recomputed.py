"""What a checkpoint computes, array by array, for comparison with numbers recorded elsewhere.

Each function's name is the array's. All go through the parts that serve: the tokenizer, the real
`Batch` with its cache, `sampling`, stage 1. Knows no tolerance and prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from models.drawing.generate import Batch
from models.drawing.sampling import Filters, RowParams, probabilities
from models.errors import KeyReport
from models.families import as_codec, as_prior, upstream_shapes
from models.files.checkpoint import (
    Checkpoint,
    load_stage1,
    load_stage2,
    load_tokenizer,
    open_checkpoint,
)
from models.files.weights import place, shapes
from models.stage2.prior import Prior
from models.verify.recorded import AbsentError, Recorded

_CACHED = ("cached_logits_img", "cached_logits")


@runtime_checkable
class RawCodec(Protocol):
    """A codec whose inner results were recorded: pixels are in or around [-1, 1], codes a grid."""

    def features(self, images: Tensor) -> Tensor: ...

    def decode(self, codes: Tensor) -> Tensor: ...


@runtime_checkable
class WholePrior(Protocol):
    """A prior that runs over whole sequences, too: ids [B, N] and codes [B, T] at once."""

    def forward(self, ids: Tensor, codes: Tensor) -> tuple[Tensor, Tensor | None]: ...

    def loss(self, ids: Tensor, codes: Tensor) -> Tensor: ...


class Subject:
    """A checkpoint under test beside the recorded set; large results are computed once."""

    def __init__(self, checkpoint: Checkpoint, recorded: Recorded) -> None:
        self.checkpoint = checkpoint
        self.recorded = recorded
        self.prefix = checkpoint.preset.prompt_kind
        self.stage1 = load_stage1(checkpoint)
        self.stage2 = load_stage2(checkpoint, codec=self.stage1)
        self.codec, self.prior = as_codec(self.stage1), as_prior(self.stage2)
        self.tokenizer = load_tokenizer(checkpoint)

    @property
    def raw(self) -> RawCodec:
        """Stage 1 with its inner results."""
        if not isinstance(self.stage1, RawCodec):
            raise AbsentError("a codec with such features")
        return self.stage1

    @property
    def whole(self) -> WholePrior:
        """Stage 2 over whole sequences."""
        if not isinstance(self.stage2, WholePrior):
            raise AbsentError("a prior over whole sequences")
        return self.stage2

    def prefixes(self, name: str) -> Tensor:
        """Prefix ids [B, N] from an array of token ids or labels; zeros where there is none."""
        if self.prefix == "none":
            return torch.zeros(1, 1, dtype=torch.int64)
        ids = self.recorded.tensor(name)
        return ids if self.prefix == "text" else ids[:, None]

    def encode(self, prompts: list[str]) -> Tensor:
        """Text prompts → token ids [P, N]."""
        if self.tokenizer is None:
            raise AbsentError("a tokenizer")
        return torch.tensor([self.tokenizer.encode(prompt)[0] for prompt in prompts])

    @cached_property
    def teacher_forced(self) -> tuple[Tensor, Tensor | None]:
        """Image and text logits of the recorded codes."""
        codes = self.recorded.tensor("tf_codes")
        prefix = self.prefixes("tf_tokens" if self.prefix == "text" else "tf_labels")
        with torch.inference_mode():
            return self.whole.forward(prefix.expand(len(codes), -1), codes)

    @cached_property
    def greedy(self) -> Tensor:
        """Codes [n, T, D] of the greedy prompts, drawn side by side by the real loop."""
        if self.prefix == "text":
            prompts = self.recorded.fact("prompts")
            chosen = self.recorded.tensor("greedy_prompt_index").tolist()
            return draw_greedily(self.prior, self.encode([prompts[i] for i in chosen]))
        return draw_greedily(self.prior, self.prefixes("greedy_labels"))


def token_ids(subject: Subject) -> Tensor:
    return subject.encode(subject.recorded.fact("prompts"))


def tf_logits(subject: Subject) -> Tensor:
    return subject.teacher_forced[0]


def tf_logits_txt(subject: Subject) -> Tensor:
    text = subject.teacher_forced[1]
    if text is None:
        raise AbsentError("a text head")
    return text


@torch.inference_mode()
def cached_logits(subject: Subject) -> Tensor:
    name = "tf_tokens" if subject.prefix == "text" else "tf_labels"
    prefixes, codes = subject.prefixes(name), subject.recorded.tensor("tf_codes")
    recorded = next(subject.recorded.arrays[n] for n in _CACHED if n in subject.recorded.arrays)
    rows = []
    for row in range(len(recorded)):
        prefix = prefixes[row if len(prefixes) > 1 else 0]
        rows.append(through_the_state(subject.prior, prefix, codes[row, :, None]))
    return torch.stack(rows)[:, : recorded.shape[1]]  # [n, T, V]


def through_the_state(prior: Prior, ids: Tensor, codes: Tensor) -> Tensor:
    """Logits [T·D, V] of one row, step by step as the loop does it, but with given codes [T, D]."""
    prefix, state = prior.prefill(ids[None]), prior.new_state(1)
    state.put(prefix, torch.tensor([0]))
    hidden, seen = prefix.hidden, list[Tensor]()

    for fed, given in enumerate(codes):

        def keep(logits: Tensor, depth: int, given: Tensor = given) -> Tensor:
            seen.append(logits)
            return given[depth : depth + 1]

        prior.sample(hidden, state, keep)
        if fed < len(codes) - 1:
            hidden = prior.decode(given[None], torch.tensor([fed]), state, prior.reaches[-1])
    return torch.cat(seen)


def greedy_codes(subject: Subject) -> Tensor:
    return subject.greedy.flatten(1)


def filt_probs(subject: Subject) -> Tensor:
    logits = subject.recorded.tensor("filt_logits")
    size = logits.shape[-1]
    rows = []
    for temperature, top_k, top_p in subject.recorded.tensor("filt_params").tolist():
        params = RowParams(
            seed=0,
            temperature=temperature,
            top_k=int(top_k) if top_k >= 0 else None,
            top_p=top_p if top_p >= 0 else None,
        )
        filters = Filters.of([params] * len(logits), size, logits.device)
        rows.append(probabilities(logits, filters).float())
    return torch.stack(rows)


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


@torch.inference_mode()
def enc_codes(subject: Subject) -> Tensor:
    wanted = subject.recorded.tensor("enc_codes")
    return _encoded(subject).view_as(wanted)


@torch.inference_mode()
def enc_recon_raw(subject: Subject) -> Tensor:
    return subject.raw.decode(enc_codes(subject))


@torch.inference_mode()
def e2e_pixels(subject: Subject) -> Tensor:
    return subject.codec.pixels(draw_greedily(subject.prior, _e2e_prefix(subject)))


def train_loss(subject: Subject) -> Tensor:
    return _training_loss(subject).detach()


def transfer_logits(subject: Subject) -> Tensor:
    """Logits of a model that took over an upstream text model's weights, its own head aside."""
    fresh = {
        "head.weight": subject.recorded.tensor("transfer_head_weight"),
        "sos.weight": subject.recorded.tensor("transfer_sos").flatten(0, -2),
    }
    upstream = upstream_checkpoint(subject.recorded)
    state = load_stage2(upstream).state_dict()
    model = subject.checkpoint.module("stage2")
    for name in shapes(model):
        place(model, name, fresh[name] if name in fresh else state[name])
    length = subject.recorded.arrays["transfer_logits"].shape[1]
    codes = subject.recorded.tensor("tf_codes")[:1]
    with torch.inference_mode():
        image: Tensor = model.eval()(subject.prefixes("tf_labels")[:1], codes)[0]
    return image[:, :length]


def upstream_checkpoint(recorded: Recorded) -> Checkpoint:
    """The text model that the transfer numbers started from."""
    folder = recorded.folder / recorded.fact("transfer", "upstream")
    if not folder.is_dir():
        raise AbsentError(f"the upstream folder {folder}")
    return open_checkpoint(folder)


def transfer_keys(subject: Subject) -> KeyReport:
    """How the upstream text model's keys differ from those of this model."""
    source = upstream_checkpoint(subject.recorded)
    upstream = load_stage2(source)
    needed = upstream_shapes(subject.checkpoint.preset.stage2, shapes(subject.stage2))
    return KeyReport.compare(needed, upstream_shapes(source.preset.stage2, shapes(upstream)))


def gradient_norms(subject: Subject) -> dict[str, float]:
    """L2 norm of the training loss's gradient per upstream parameter of stage 2."""
    model = subject.stage2.requires_grad_(True)
    try:
        _training_loss(subject).backward()  # type: ignore[no-untyped-call]  # torch has no types here
        norms: dict[str, float] = {}
        for name, parameter in model.named_parameters():
            config = subject.checkpoint.preset.stage2
            names = upstream_shapes(config, {name: tuple(parameter.shape)})
            gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            for part, piece in zip(names, gradient.chunk(len(names)), strict=True):
                norms[part] = float(piece.norm())
        return norms
    finally:
        model.zero_grad(set_to_none=True)
        model.requires_grad_(False)


def _encoded(subject: Subject) -> Tensor:
    """Codes [B, T, D] of the recorded images."""
    return subject.codec.encode(subject.recorded.tensor("enc_images") * 0.5 + 0.5)


def _training_loss(subject: Subject) -> Tensor:
    codes = _encoded(subject).flatten(1)
    prefix = subject.prefixes("train_labels").expand(len(codes), -1)
    return subject.whole.loss(prefix, codes)


def _e2e_prefix(subject: Subject) -> Tensor:
    if subject.prefix == "text":
        return subject.encode([subject.recorded.fact("e2e", "prompt")])
    if subject.prefix == "class":
        return torch.tensor([[subject.recorded.fact("e2e", "cls_idx")]])
    return subject.prefixes("")


@torch.inference_mode()
def draw_greedily(prior: Prior, prefixes: Tensor) -> Tensor:
    """Prefix ids [n, N] → codes [n, T, D], all rows in flight together."""
    batch = Batch(prior, capacity=len(prefixes))
    rows: list[int] = []
    for prefix in prefixes:
        rows += batch.admit(prior.prefill(prefix[None]), [RowParams(seed=0, top_k=1)])
    finished: set[int] = set()
    while len(finished) < len(rows):
        finished.update(batch.step())
    return batch.take(rows)


ARRAYS: dict[str, Callable[[Subject], Tensor]] = {
    "token_ids": token_ids,
    "tf_logits": tf_logits,
    "tf_logits_img": tf_logits,
    "tf_logits_txt": tf_logits_txt,
    "cached_logits": cached_logits,
    "cached_logits_img": cached_logits,
    "greedy_codes": greedy_codes,
    "filt_probs": filt_probs,
    "dec_raw": dec_raw,
    "dec_pixels": dec_pixels,
    "enc_prequant": enc_prequant,
    "enc_codes": enc_codes,
    "enc_recon_raw": enc_recon_raw,
    "e2e_pixels": e2e_pixels,
    "train_loss": train_loss,
    "transfer_logits": transfer_logits,
}
