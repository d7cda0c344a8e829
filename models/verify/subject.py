"""A checkpoint under test, with the set of numbers that it is compared with.

Loads it as it is served and draws by the real loop. Knows no arrays by name but those that it
starts from.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from models.drawing.generate import Batch
from models.drawing.sampling import RowParams
from models.families import as_codec, as_prior
from models.files.checkpoint import Checkpoint, load_stage1, load_stage2, load_tokenizer
from models.stage2.prior import Prior
from models.verify.recorded import AbsentError, Recorded


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
        if isinstance(self.stage1, RawCodec):
            return self.stage1
        raise AbsentError("a codec with such features")

    @property
    def whole(self) -> WholePrior:
        """Stage 2 over whole sequences."""
        if isinstance(self.stage2, WholePrior):
            return self.stage2
        raise AbsentError("a prior over whole sequences")

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

    def images_encoded(self) -> Tensor:
        """Codes [B, T, D] of the recorded images."""
        return self.codec.encode(self.recorded.tensor("enc_images") * 0.5 + 0.5)


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
