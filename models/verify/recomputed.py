"""What a checkpoint computes, array by array, for comparison with numbers recorded elsewhere.

Each function's name is the array's. All go through the parts that serve: the tokenizer, the real
`Batch` with its cache, `sampling`, stage 1. Knows no tolerance and prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from models.drawing.generate import Batch
from models.drawing.sampling import Filters, RowParams, probabilities
from models.errors import KeyReport
from models.files.checkpoint import (
    Checkpoint,
    load_stage1,
    load_stage2,
    load_tokenizer,
    open_checkpoint,
)
from models.files.official import upstream_names, upstream_shapes
from models.files.weights import on_meta, place, shapes
from models.stage2.kv_cache import KVCache
from models.stage2.transformer import Step, Transformer
from models.verify.recorded import AbsentError, Recorded

_CACHED = ("cached_logits_img", "cached_logits")


class Subject:
    """A checkpoint under test beside the recorded set; large results are computed once."""

    def __init__(self, checkpoint: Checkpoint, recorded: Recorded) -> None:
        self.checkpoint = checkpoint
        self.recorded = recorded
        self.prefix = checkpoint.preset.stage2.prefix
        self.stage1 = load_stage1(checkpoint)
        self.stage2 = load_stage2(checkpoint)
        self.tokenizer = load_tokenizer(checkpoint)

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
            image, text = self.stage2(prefix.expand(len(codes), -1), codes)
        return image, text

    @cached_property
    def greedy(self) -> Tensor:
        """Codes [n, T] of the greedy prompts, drawn side by side by the real loop."""
        if self.prefix == "text":
            prompts = self.recorded.fact("prompts")
            chosen = self.recorded.tensor("greedy_prompt_index").tolist()
            return _draw_greedily(self.stage2, self.encode([prompts[i] for i in chosen]))
        return _draw_greedily(self.stage2, self.prefixes("greedy_labels"))


class _Forced:
    """Stage 2 in the real loop, but with given codes instead of drawn ones; keeps the logits."""

    depth = 1

    def __init__(self, stage2: Transformer, codes: Tensor) -> None:
        self._stage2 = stage2
        self._codes = codes  # [T]
        self.num_steps = len(codes)
        self.vocab_size = stage2.vocab_size
        self.device = stage2.device
        self.seen: list[Tensor] = []

    def new_cache(self, num_rows: int) -> KVCache:
        return self._stage2.new_cache(num_rows)

    def decode(self, codes: Tensor, places: Tensor, cache: KVCache, step: Step) -> Tensor:
        return self._stage2.decode(codes, places, cache, step)

    def sample(self, hidden: Tensor, draw: Callable[[Tensor, int], Tensor]) -> Tensor:
        code = self._codes[len(self.seen)]
        self.seen.append(self._stage2.head(hidden))
        return code.expand(len(hidden), 1)


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
        rows.append(_through_the_cache(subject.stage2, prefix, codes[row]))
    return torch.stack(rows)[:, : recorded.shape[1]]  # [n, T, V]


def _through_the_cache(stage2: Transformer, prefix: Tensor, codes: Tensor) -> Tensor:
    """Logits [T, V] of one row, one position at a time in the real loop."""
    forced = _Forced(stage2, codes)
    batch = Batch(forced, capacity=1)
    batch.admit(stage2.prefill(prefix[None]), [RowParams(seed=0)])
    while not batch.step():
        pass
    return torch.cat(forced.seen)


def greedy_codes(subject: Subject) -> Tensor:
    return subject.greedy


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
    return subject.stage1.decode(subject.recorded.tensor("dec_codes"))


@torch.inference_mode()
def dec_pixels(subject: Subject) -> Tensor:
    return subject.stage1.pixels(subject.recorded.tensor("dec_codes"))


@torch.inference_mode()
def enc_prequant(subject: Subject) -> Tensor:
    return subject.stage1.features(subject.recorded.tensor("enc_images"))


@torch.inference_mode()
def enc_codes(subject: Subject) -> Tensor:
    return subject.stage1.encode(subject.recorded.tensor("enc_images"))


@torch.inference_mode()
def enc_recon_raw(subject: Subject) -> Tensor:
    return subject.stage1.decode(enc_codes(subject))


@torch.inference_mode()
def e2e_pixels(subject: Subject) -> Tensor:
    codes = _draw_greedily(subject.stage2, _e2e_prefix(subject))
    grid = subject.stage1.config.grid_size
    return subject.stage1.pixels(codes.view(-1, grid, grid))


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
    model = on_meta(lambda: Transformer(subject.checkpoint.preset.stage2))
    for name in shapes(model):
        place(model, name, fresh[name] if name in fresh else state[name])
    length = subject.recorded.arrays["transfer_logits"].shape[1]
    codes = subject.recorded.tensor("tf_codes")[:1]
    image: Tensor
    with torch.inference_mode():
        image, _ = model.eval()(subject.prefixes("tf_labels")[:1], codes)
    return image[:, :length]


def upstream_checkpoint(recorded: Recorded) -> Checkpoint:
    """The text model that the transfer numbers started from."""
    folder = recorded.folder / recorded.fact("transfer", "upstream")
    if not folder.is_dir():
        raise AbsentError(f"the upstream folder {folder}")
    return open_checkpoint(folder)


def transfer_keys(subject: Subject) -> KeyReport:
    """How the upstream text model's keys differ from those of this model."""
    upstream = load_stage2(upstream_checkpoint(subject.recorded))
    needed = upstream_shapes(shapes(subject.stage2), subject.prefix)
    return KeyReport.compare(needed, upstream_shapes(shapes(upstream), "text"))


def gradient_norms(subject: Subject) -> dict[str, float]:
    """L2 norm of the training loss's gradient per upstream parameter of stage 2."""
    model = subject.stage2.requires_grad_(True)
    try:
        _training_loss(subject).backward()  # type: ignore[no-untyped-call]  # torch has no types here
        norms: dict[str, float] = {}
        for name, parameter in model.named_parameters():
            names = upstream_names(name, subject.prefix)
            gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            for part, piece in zip(names, gradient.chunk(len(names)), strict=True):
                norms[part] = float(piece.norm())
        return norms
    finally:
        model.zero_grad(set_to_none=True)
        model.requires_grad_(False)


def _training_loss(subject: Subject) -> Tensor:
    codes = subject.stage1.encode(subject.recorded.tensor("enc_images")).flatten(1)  # [B, T]
    prefix = subject.prefixes("train_labels").expand(len(codes), -1)
    image, _ = subject.stage2(prefix, codes)
    return F.cross_entropy(image.flatten(0, 1), codes.flatten())


def _e2e_prefix(subject: Subject) -> Tensor:
    if subject.prefix == "text":
        return subject.encode([subject.recorded.fact("e2e", "prompt")])
    if subject.prefix == "class":
        return torch.tensor([[subject.recorded.fact("e2e", "cls_idx")]])
    return subject.prefixes("")


@torch.inference_mode()
def _draw_greedily(stage2: Transformer, prefixes: Tensor) -> Tensor:
    """Prefix ids [n, N] → codes [n, T], all rows in flight together."""
    batch = Batch(stage2, capacity=len(prefixes))
    rows: list[int] = []
    for prefix in prefixes:
        rows += batch.admit(stage2.prefill(prefix[None]), [RowParams(seed=0, top_k=1)])
    finished: set[int] = set()
    while len(finished) < len(rows):
        finished.update(batch.step())
    return batch.take(rows)[..., 0]


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
