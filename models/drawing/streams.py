"""Random numbers by counter: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers").

The number for (seed, candidate, position) is a pure function of the three, so a row draws the same
codes whatever shares its batch and whenever it joined. Holds no state and knows no model.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_SEED = 2**63 - 1
CODES, FINER_CODES = 0, 1  # streams of a row

_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF


def philox(counter: Tensor, key: Tensor) -> Tensor:
    """One block of four 32-bit words per counter, [..., 4] int64.

    `counter` is [..., 4], `key` [..., 2] and broadcast, both int64 with words in 0 .. 2**32 - 1.
    """
    c0, c1, c2, c3 = counter.unbind(-1)
    k0, k1 = key.unbind(-1)
    for _ in range(_ROUNDS):
        # int64 products wrap around, which keeps all 64 bits; the shift is arithmetic, so mask.
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((second >> 32) & _LOW) ^ c1 ^ k0,
            second & _LOW,
            ((first >> 32) & _LOW) ^ c3 ^ k1,
            first & _LOW,
        )
        k0, k1 = (k0 + _KEY_STEPS[0]) & _LOW, (k1 + _KEY_STEPS[1]) & _LOW
    return torch.stack((c0, c1, c2, c3), -1)


def uniforms(seeds: Tensor, candidates: Tensor, count: int, stream: int = CODES) -> Tensor:
    """The first `count` numbers of each row's stream, [B, count] float64 in [0, 1), 53 bits each.

    `seeds` are [B] int64 in 0 .. MAX_SEED, `candidates` [B] int64 in 0 .. 2**32 - 1. A row has
    several streams that share no number: one for what the loop draws, others for what follows.
    """
    position = torch.arange(count, device=seeds.device)
    counter = torch.zeros(len(seeds), count, 4, dtype=torch.int64, device=seeds.device)
    counter[..., 0] = position
    counter[..., 1] = candidates[:, None]
    counter[..., 2] = stream
    key = torch.stack((seeds & _LOW, seeds >> 32), -1)[:, None]  # [B, 1, 2]
    words = philox(counter, key)
    bits = ((words[..., 0] << 21) | (words[..., 1] >> 11)) & (2**53 - 1)
    return bits.double() * 2.0**-53
