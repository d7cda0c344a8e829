"""What an RQ checkpoint computes, array by array and loss by loss, as `recomputed` does for others.

Recorded codes are grids [B, h, w, D], here [B, T, D]; recorded features are channels last.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from models.stage1.rq_vae import RQVAE, commitment_loss
from models.stage2.rq_loss import hard_cross_entropy, soft_cross_entropy, text_cross_entropy
from models.stage2.rq_transformer import RQTransformer
from models.verify.recomputed import Subject, draw_greedily, filt_probs, through_the_state
from models.verify.recorded import AbsentError

_TAU = 0.5  # of the recorded soft codes and losses
_TEXT_SHARE = 0.1
_ARRAYS = (
    *("token_ids", "tf_logits", "tf_cond_logits", "cached_logits", "greedy_codes", "e2e_pixels"),
    *("filt_probs", "enc_prequant", "enc_codes", "enc_quant_cumulative", "enc_recon_raw"),
    *("soft_codes_temp05", "dec_raw", "dec_pixels", "dec_code_embeddings"),
    *("dec_partial_add_1", "dec_partial_select_1"),
)


class RQNumbers:
    """A checkpoint's numbers beside a recorded set. Each method's name is the array's."""

    def __init__(self, subject: Subject) -> None:
        if not isinstance(subject.stage1, RQVAE) or not isinstance(subject.stage2, RQTransformer):
            raise TypeError("not a model of the RQ family")
        self._subject = subject
        self._recorded = subject.recorded
        self._stage1, self._stage2 = subject.stage1, subject.stage2

    def arrays(self) -> dict[str, Callable[[], Tensor]]:
        """What computes each array, by its name."""
        return {name: torch.inference_mode()(getattr(self, name)) for name in _ARRAYS}

    def filt_probs(self) -> Tensor:
        return filt_probs(self._subject)

    def token_ids(self) -> Tensor:
        return self._subject.encode(self._recorded.fact("prompts"))

    def tf_logits(self) -> Tensor:
        return self._like("tf_logits", self._teacher_forced[0])

    def tf_cond_logits(self) -> Tensor:
        if self._teacher_forced[1] is None:
            raise AbsentError("a text head")
        return self._teacher_forced[1]

    def cached_logits(self) -> Tensor:
        """Of the first row, as many steps as were recorded."""
        _, rows, columns, *_ = self._recorded.arrays["cached_logits"].shape
        codes = self._codes("tf_codes")[0, : rows * columns]
        logits = through_the_state(self._subject.prior, self._prefixes("tf_cond")[0], codes)
        return self._like("cached_logits", logits)

    def greedy_codes(self) -> Tensor:
        return self._like("greedy_codes", self._greedy)

    def e2e_pixels(self) -> Tensor:
        return self._stage1.pixels(self._greedy[:1])

    def enc_prequant(self) -> Tensor:
        return self._features.permute(0, 2, 3, 1)

    def enc_codes(self) -> Tensor:
        return self._like("enc_codes", self._encoded)

    def enc_quant_cumulative(self) -> Tensor:
        sums = self._stage1.quantizer.vectors(self._encoded[:1]).cumsum(2)
        return self._like("enc_quant_cumulative", sums)

    def enc_recon_raw(self) -> Tensor:
        return self._stage1.decode(self._encoded[:1])

    def soft_codes_temp05(self) -> Tensor:
        """The first rows of image 0; a depth with fewer codes than others ends with zeros."""
        _, rows, columns, _, size = self._recorded.arrays["soft_codes_temp05"].shape
        padded = [F.pad(target, (0, size - target.shape[-1])) for target in self._targets]
        return self._like("soft_codes_temp05", torch.stack(padded, 2)[:, : rows * columns])

    def dec_raw(self) -> Tensor:
        return self._stage1.decode(self._codes("dec_codes"))

    def dec_pixels(self) -> Tensor:
        return self._stage1.pixels(self._codes("dec_codes"))

    def dec_code_embeddings(self) -> Tensor:
        vectors = self._stage1.quantizer.vectors(self._codes("dec_codes")[:1])
        return self._like("dec_code_embeddings", vectors)

    def dec_partial_add_1(self) -> Tensor:
        return self._stage1.decode(self._codes("dec_codes")[:1, :, :2])

    def dec_partial_select_1(self) -> Tensor:
        return self._stage1.decode_one(self._codes("dec_codes")[:1], 1)

    @torch.inference_mode()
    def losses(self) -> dict[str, float]:
        """The training losses of both stages by their names in expected.json."""
        return {**self._stage2_losses(), **self._stage1_losses()}

    def _stage2_losses(self) -> dict[str, float]:
        """Of image 0 and the first recorded prompt."""
        codes, prefix = self._encoded[:1], self._prefixes("tf_cond")[:1]
        logits, text = self._stage2(prefix, codes)
        soft = soft_cross_entropy(logits, self._targets)
        image = float(soft.mean())
        found = {"img_soft": image, "img_hard": float(hard_cross_entropy(logits, codes).mean())}
        for depth, loss in enumerate(soft.mean((0, 1)).tolist()):
            found[f"per_depth_soft.{depth}"] = loss
        if text is not None:
            found["cond"] = float(text_cross_entropy(text, prefix))
            found["total_0.9img_0.1txt"] = (1 - _TEXT_SHARE) * image + _TEXT_SHARE * found["cond"]
        return found

    def _stage1_losses(self) -> dict[str, float]:
        """Of all images."""
        stage1, images = self._stage1, self._recorded.tensor("enc_images")
        made = stage1.decode(self._encoded)
        reconstruction = float(stage1.reconstruction_loss(made, images))
        sums = stage1.quantizer.vectors(self._encoded).cumsum(2)
        commitment = float(commitment_loss(stage1.fold(self._features), sums))
        return {
            "vae_recon_loss": reconstruction,
            "vae_commitment_loss": commitment,
            "vae_loss_total": reconstruction + stage1.config.latent_loss_weight * commitment,
        }

    @cached_property
    def _teacher_forced(self) -> tuple[Tensor, Tensor | None]:
        codes = self._codes("tf_codes")
        logits, text = self._stage2(self._prefixes("tf_cond").expand(len(codes), -1), codes)
        return logits, text

    @cached_property
    def _greedy(self) -> Tensor:
        return draw_greedily(self._subject.prior, self._prefixes("greedy_cond"))

    @cached_property
    def _features(self) -> Tensor:
        return self._stage1.features(self._recorded.tensor("enc_images"))

    @cached_property
    def _encoded(self) -> Tensor:
        codes: Tensor = self._stage1.quantizer(self._stage1.fold(self._features))
        return codes

    @cached_property
    def _targets(self) -> list[Tensor]:
        """Soft targets of image 0, per depth [1, T, V]."""
        return self._stage1.quantizer.soft(self._stage1.fold(self._features[:1]), _TAU)[0]

    def _prefixes(self, name: str) -> Tensor:
        """Prefix ids [B, N] of recorded texts or classes; zeros where the model takes nothing."""
        return self._subject.prefixes(name)

    def _codes(self, name: str) -> Tensor:
        return self._recorded.tensor(name).flatten(1, 2)

    def _like(self, name: str, tensor: Tensor) -> Tensor:
        """In the recorded array's own shape, where it has as many numbers."""
        wanted = self._recorded.arrays[name].shape
        return tensor.view(wanted) if tensor.numel() == torch.Size(wanted).numel() else tensor
