"""What priors of several codes a step are trained on: soft targets for codes, the text's share.

Knows neither data nor optimisers, and how targets are made is stage 1's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_FLOOR = 1e-7  # beside the sum of exponentials, as the reference has it


def side_by_side(logits: list[Tensor]) -> Tensor:
    """Logits [B, T, V_d] of each depth → [B, T, D, V], -inf where a depth has no such code."""
    widest = max(part.shape[-1] for part in logits)
    padded = [F.pad(part, (0, widest - part.shape[-1]), value=-torch.inf) for part in logits]
    return torch.stack(padded, 2)


def soft_cross_entropy(logits: Tensor, targets: list[Tensor]) -> Tensor:
    """Cross-entropy in nats of each code, without a mean.

    Args:
        logits: [B, T, D, V], -inf where a depth has no such code.
        targets: per depth the probabilities [B, T, V_d].

    Returns:
        [B, T, D].
    """
    parts = []
    for depth, target in enumerate(targets):
        mine = logits[:, :, depth, : target.shape[-1]].float()
        shifted = mine - mine.amax(-1, keepdim=True).detach()
        log_probs = shifted - torch.log(shifted.exp().sum(-1, keepdim=True) + _FLOOR)
        parts.append(-(target * log_probs).sum(-1))
    return torch.stack(parts, -1)


def hard_cross_entropy(logits: Tensor, codes: Tensor) -> Tensor:
    """Cross-entropy in nats of codes [B, T, D], without a mean: [B, T, D]."""
    losses = F.cross_entropy(logits.flatten(0, 2), codes.flatten(), reduction="none")
    return losses.view(codes.shape)


def text_cross_entropy(logits: Tensor, prefix: Tensor) -> Tensor:
    """Mean cross-entropy in nats of the tokens behind the first, by logits [B, N - 1, Vt]."""
    return F.cross_entropy(logits.flatten(0, 1), prefix[:, 1:].flatten())
