"""A checkpoint under test beside the numbers that were recorded of it.

Goes through the parts that serve: the tokenizer, the real `Batch`, stage 1. What only checks ask of
a model, its inner results, is in the two protocols. Of arrays it knows prompts and images.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from models.configs.no_prior import NoPriorConfig
from models.drawing.generate import Batch
from models.drawing.sampling import RowParams
from models.families import as_codec, as_prior
from models.files.checkpoint import Checkpoint, load_stage1, load_stage2, load_tokenizer
from models.stage1.codec import Codec
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
    """The loaded checkpoint and the set; what several arrays come from is computed once.

    AbsentError where the folder lacks what is asked for, or it is of another kind.
    """

    def __init__(self, checkpoint: Checkpoint, recorded: Recorded) -> None:
        self.checkpoint = checkpoint
        self.recorded = recorded
        self.preset = checkpoint.preset
        self._stage1 = load_stage1(checkpoint) if checkpoint.has("stage1") else None
        self._stage2: nn.Module | None = None
        if not isinstance(self.preset.stage2, NoPriorConfig):
            self._stage2 = load_stage2(checkpoint, codec=self._stage1)
        # A stage 2 that comes alone has no tokenizer either.
        self.tokenizer = load_tokenizer(checkpoint) if self._stage1 else None

    @property
    def stage1(self) -> nn.Module:
        """The codec, where the folder has one."""
        if self._stage1 is None:
            raise AbsentError("stage 1")
        return self._stage1

    @property
    def stage2(self) -> nn.Module:
        """Stage 2, where the folder holds more than a codec."""
        if self._stage2 is None:
            raise AbsentError("a stage 2")
        return self._stage2

    @property
    def codec(self) -> Codec:
        """Stage 1 as what turns codes into pixels."""
        return as_codec(self.stage1)

    @property
    def prior(self) -> Prior:
        """Stage 2 as what draws."""
        return as_prior(self.stage2)

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
        """Prefix ids [B, N] from an array of token ids or labels.

        Without a prompt they are zeros, or the recorded tokens that stand in its place.
        """
        if self.preset.prompt_kind == "none":
            is_given = "cond_codes" in self.recorded.arrays
            return self.recorded.tensor("cond_codes") if is_given else torch.zeros(1, 1).long()
        ids = self.recorded.tensor(name)
        return ids if self.preset.prompt_kind == "text" else ids[:, None]

    def encode(self, prompts: list[str]) -> Tensor:
        """Text prompts → token ids [P, N]."""
        if self.tokenizer is None:
            raise AbsentError("a tokenizer")
        return torch.tensor([self.tokenizer.encode(prompt)[0] for prompt in prompts])

    def greedy_prefixes(self) -> Tensor:
        """Prefix ids [n, N] of what was drawn greedily: labels, or some of the prompts."""
        if self.preset.prompt_kind != "text":
            return self.prefixes("greedy_labels")
        prompts = self.recorded.fact("prompts")
        chosen = self.recorded.tensor("greedy_prompt_index").tolist()
        return self.encode([prompts[i] for i in chosen])

    @cached_property
    def encoded(self) -> Tensor:
        """Codes [B, T, D] of the recorded images."""
        return self.codec.encode(self.recorded.tensor("enc_images") * 0.5 + 0.5)

    def draw_greedily(self, prefixes: Tensor) -> Tensor:
        """Prefix ids [n, N] → codes [n, T, D], all rows in flight together."""
        return drawn_greedily(self.prior, prefixes)


@torch.inference_mode()
def drawn_greedily(prior: Prior, prefixes: Tensor) -> Tensor:
    """See `Subject.draw_greedily`."""
    batch = Batch(prior, capacity=len(prefixes))
    rows: list[int] = []
    for prefix in prefixes:
        rows += batch.admit(prior.prefill(prefix[None]), [RowParams(seed=0, top_k=1)])
    finished: set[int] = set()
    while len(finished) < len(rows):
        finished.update(batch.step())
    return batch.take(rows)
